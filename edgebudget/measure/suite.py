"""The models whose measurements are recorded in `edgebudget/calibration/data`, and which of them may be built on.

The split is by family, so that no variant of a model that was built on is judged by. Families whose figures were known
when the runtimes were modelled (`KNOWN`) are built on. The others were drawn once, before any of them was measured: in
each kind the families in the order of the SHA-256 of their names, the first judged by, the second built on, and so on.
The draw stands as `JUDGED`: a family that is added later is built on unless it is drawn the same way. What is judged by
is never used to choose or tune anything in the models of runtimes. Calibrations are fitted to both, since an interval
is for errors on models that nobody tuned to, and a family is judged by fits that did not see it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgebudget.measure.campaign import measure_to_files
from edgebudget.measure.interface import Failure, Measurement, Subject
from edgebudget.measure.this_machine import ThisMachine

Kind = Literal["cnn", "transformer", "segmentation", "video", "recurrent", "text", "audio", "enhancement"]
Part = Literal["build", "judge"]
PARTS: tuple[Part, ...] = ("build", "judge")

KNOWN = frozenset({"resnet", "mobilenet_v2", "mobilenet_v3", "efficientnet", "vit", "swin", "convnext", "lstm"})
JUDGED = frozenset({
    "alexnet", "autoencoder", "cait", "deeplabv3", "dla", "efficientformer", "efficientnet_v2",
    "efficientvit", "fbnet", "fcn", "gru", "hardcorenas", "lcnet", "mixer", "mobilenet_v4", "mobilevit",
    "poolformer", "regnet", "resnext", "rexnet", "selecsls", "shufflenet_v2", "spnasnet", "squeezenet",
    "super_resolution", "text_encoder", "tinynet", "video_resnet",
})  # fmt: skip
OPTIONS = (
    ("executorch-xnnpack", "float32"),
    ("executorch-xnnpack", "int8"),
    ("onnxruntime", "float32"),
    ("onnxruntime", "int8"),
    ("pytorch-cpu", "float32"),
    ("executorch", "float32"),
)
WEIGHT_OPTIONS = (
    ("pytorch-cpu", "int8-dynamic"),
    ("pytorch-cpu", "int8-weight-only"),
    ("pytorch-cpu", "int4-weight-only"),
    ("onnxruntime", "int8-dynamic"),
    ("onnxruntime", "int8-weight-only"),
    ("onnxruntime", "int4-weight-only"),
    ("executorch-xnnpack", "int8-dynamic"),
    ("executorch-xnnpack", "int4-weight-only"),
)
"""What is measured besides for the models of `WEIGHTS_QUANTIZED`, which differ in how much of them is linear layers."""

WEIGHTS_QUANTIZED = frozenset({
    "mobilenet_v2", "resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "mnasnet0_5", "mobilenet_v3_large",
    "edgebudget.measure.zoo:keyword_cnn", "edgebudget.measure.zoo:anomaly_autoencoder",
    "edgebudget.measure.zoo:text_classifier", "timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224",
    "timm:mobilevit_xxs", "timm:lcnet_050", "timm:mobilenetv4_conv_small", "timm:tinynet_e", "timm:mixer_s32_224",
    "timm:resmlp_12_224", "timm:levit_128s", "timm:xcit_nano_12_p16_224", "timm:pvt_v2_b0", "timm:efficientformer_l1",
    "timm:edgenext_xx_small", "timm:convnextv2_atto", "timm:efficientvit_b0", "timm:tiny_vit_5m_224",
    "edgebudget.measure.zoo:lstm_cells", "edgebudget.measure.zoo:lstm_sequence", "edgebudget.measure.zoo:gru_cells",
    "edgebudget.measure.zoo:gru_sequence", "regnet_x_800mf", "timm:hardcorenas_a", "timm:mobilenetv2_050",
    "timm:fbnetc_100", "timm:spnasnet_100", "timm:rexnet_100", "timm:dla34", "timm:selecsls42b", "regnet_y_400mf",
    "timm:poolformer_s12",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the suite: a reference, its family, its kind, and one input each as text."""

    model: str
    family: str
    kind: Kind
    inputs: tuple[str, ...] = ("1x3x224x224:float32",)

    @property
    def part(self) -> Part:
        """Whether the model is built on or judged by."""
        return "judge" if self.family in JUDGED else "build"

    def subjects(self) -> tuple[Subject, ...]:
        """Every backend and dtype for this model."""
        options = OPTIONS + (WEIGHT_OPTIONS if self.model in WEIGHTS_QUANTIZED else ())
        return tuple(Subject(self.model, self.inputs, backend, dtype) for backend, dtype in options)


def _zoo(name: str, family: str, kind: Kind, *inputs: str) -> Entry:
    return Entry(f"edgebudget.measure.zoo:{name}", family, kind, inputs)


_AT_256 = ("1x3x256x256:float32",)
_AT_299 = ("1x3x299x299:float32",)
_CLIP = ("1x3x8x112x112:float32",)

# In the order they are measured: small and widely used first. None has more than 100 million parameters.
SUITE: tuple[Entry, ...] = (
    Entry("mobilenet_v2", "mobilenet_v2", "cnn"),
    Entry("resnet18", "resnet", "cnn"),
    Entry("mobilenet_v3_small", "mobilenet_v3", "cnn"),
    _zoo("lstm_cells", "lstm", "recurrent", "1x16x64:float32"),
    _zoo("keyword_cnn", "keyword_cnn", "audio", "1x1x49x10:float32"),
    Entry("squeezenet1_1", "squeezenet", "cnn"),
    Entry("shufflenet_v2_x1_0", "shufflenet_v2", "cnn"),
    Entry("mnasnet1_0", "mnasnet", "cnn"),
    Entry("timm:vit_tiny_patch16_224", "vit", "transformer"),
    Entry("efficientnet_b0", "efficientnet", "cnn"),
    Entry("resnet50", "resnet", "cnn"),
    _zoo("gru_cells", "gru", "recurrent", "1x16x64:float32"),
    Entry("regnet_y_400mf", "regnet", "cnn"),
    Entry("timm:repvgg_a0", "repvgg", "cnn"),
    Entry("timm:ghostnet_100", "ghostnet", "cnn"),
    Entry("timm:mobilevit_xxs", "mobilevit", "transformer", _AT_256),
    Entry("timm:lcnet_050", "lcnet", "cnn"),
    Entry("lraspp_mobilenet_v3_large", "lraspp", "segmentation"),
    _zoo("unet_small", "unet", "segmentation", "1x3x128x128:float32"),
    _zoo("super_resolution", "super_resolution", "enhancement", "1x1x160x160:float32"),
    _zoo("anomaly_autoencoder", "autoencoder", "audio", "1x640:float32"),
    _zoo("text_classifier", "text_encoder", "text", "1x64:int64"),
    Entry("convnext_tiny", "convnext", "cnn"),
    Entry("timm:deit_tiny_patch16_224", "vit", "transformer"),
    Entry("mobilenet_v3_large", "mobilenet_v3", "cnn"),
    Entry("timm:mobilenetv4_conv_small", "mobilenet_v4", "cnn"),
    Entry("timm:efficientnet_lite0", "efficientnet", "cnn"),
    Entry("timm:tinynet_e", "tinynet", "cnn", ("1x3x106x106:float32",)),
    Entry("timm:mobileone_s0", "mobileone", "cnn"),
    Entry("timm:mixer_s32_224", "mixer", "transformer"),
    Entry("timm:resmlp_12_224", "resmlp", "transformer"),
    Entry("timm:poolformer_s12", "poolformer", "transformer"),
    Entry("timm:levit_128s", "levit", "transformer"),
    Entry("timm:hardcorenas_a", "hardcorenas", "cnn"),
    Entry("timm:fbnetc_100", "fbnet", "cnn"),
    Entry("timm:mixnet_s", "mixnet", "cnn"),
    Entry("timm:rexnet_100", "rexnet", "cnn"),
    Entry("squeezenet1_0", "squeezenet", "cnn"),
    Entry("shufflenet_v2_x0_5", "shufflenet_v2", "cnn"),
    Entry("mnasnet0_5", "mnasnet", "cnn"),
    Entry("timm:mobilenetv2_050", "mobilenet_v2", "cnn"),
    Entry("resnet34", "resnet", "cnn"),
    Entry("swin_t", "swin", "transformer"),
    Entry("deeplabv3_mobilenet_v3_large", "deeplabv3", "segmentation"),
    _zoo("lstm_sequence", "lstm", "recurrent", "1x16x64:float32"),
    _zoo("gru_sequence", "gru", "recurrent", "1x25x40:float32"),
    _zoo("lstm_cells_long", "lstm", "recurrent", "1x50x40:float32"),
    Entry("googlenet", "googlenet", "cnn"),
    Entry("timm:xcit_nano_12_p16_224", "xcit", "transformer"),
    Entry("timm:pvt_v2_b0", "pvt", "transformer"),
    Entry("timm:efficientformer_l1", "efficientformer", "transformer"),
    Entry("timm:edgenext_xx_small", "edgenext", "transformer", _AT_256),
    Entry("timm:convnextv2_atto", "convnext", "cnn"),
    Entry("timm:gernet_s", "gernet", "cnn"),
    Entry("timm:dla34", "dla", "cnn"),
    Entry("timm:selecsls42b", "selecsls", "cnn"),
    Entry("timm:semnasnet_075", "mnasnet", "cnn"),
    Entry("timm:spnasnet_100", "spnasnet", "cnn"),
    Entry("regnet_x_800mf", "regnet", "cnn"),
    Entry("densenet121", "densenet", "cnn"),
    Entry("efficientnet_b1", "efficientnet", "cnn"),
    Entry("timm:mobilevitv2_050", "mobilevit", "transformer", _AT_256),
    Entry("timm:fastvit_t8", "fastvit", "transformer", _AT_256),
    Entry("timm:efficientvit_b0", "efficientvit", "transformer"),
    Entry("timm:tiny_vit_5m_224", "tiny_vit", "transformer"),
    Entry("timm:hrnet_w18_small", "hrnet", "cnn"),
    Entry("timm:dpn68", "dpn", "cnn"),
    Entry("timm:res2net50_26w_4s", "res2net", "cnn"),
    Entry("timm:cait_xxs24_224", "cait", "transformer"),
    Entry("resnext50_32x4d", "resnext", "cnn"),
    Entry("efficientnet_v2_s", "efficientnet_v2", "cnn"),
    Entry("inception_v3", "inception", "cnn", _AT_299),
    Entry("timm:cspdarknet53", "cspnet", "cnn", _AT_256),
    Entry("timm:xception41", "xception", "cnn", _AT_299),
    Entry("alexnet", "alexnet", "cnn"),
    Entry("fcn_resnet50", "fcn", "segmentation"),
    Entry("deeplabv3_resnet50", "deeplabv3", "segmentation"),
    Entry("vit_b_16", "vit", "transformer"),
    Entry("mc3_18", "video_resnet", "video", _CLIP),
    Entry("r3d_18", "video_resnet", "video", _CLIP),
    Entry("r2plus1d_18", "r2plus1d", "video", _CLIP),
    Entry("wide_resnet50_2", "wide_resnet", "cnn"),
    Entry("resnet101", "resnet", "cnn"),
)


def data_file(folder: Path, part: Part) -> Path:
    """Return where the measurements of a part stand below `folder`."""
    return folder / f"{part}.jsonl"


def record(entries: Sequence[Entry], folder: Path, tell: Callable[[Measurement | Failure], None]) -> None:
    """Measure what the files of `folder` do not hold yet, in order, each part into its own file.

    Calls `tell` after each; raises what `measure_to_file` raises.
    """
    parts = {subject: entry.part for entry in entries for subject in entry.subjects()}
    with ThisMachine() as place:
        measure_to_files({subject: data_file(folder, part) for subject, part in parts.items()}, place, tell)
