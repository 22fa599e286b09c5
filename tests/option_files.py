"""Recorded sizes of real files: what each option's own tools write for a model whose weights all differ."""

import csv
from dataclasses import astuple, dataclass, fields
from pathlib import Path

DATA = Path(__file__).parents[1] / "edgebudget/calibration/data/option_files.csv"

MODELS: tuple[tuple[str, str], ...] = (
    ("edgebudget.measure.zoo:anomaly_autoencoder", "1x640:float32"),
    ("edgebudget.measure.zoo:unet_small", "1x3x128x128:float32"),
    ("mobilenet_v3_small", "1x3x224x224:float32"),
    ("mobilenet_v2", "1x3x224x224:float32"),
    ("resnet18", "1x3x224x224:float32"),
    ("squeezenet1_1", "1x3x224x224:float32"),
    ("shufflenet_v2_x1_0", "1x3x224x224:float32"),
    ("mnasnet1_0", "1x3x224x224:float32"),
    ("timm:vit_tiny_patch16_224", "1x3x224x224:float32"),
    ("timm:lcnet_050", "1x3x224x224:float32"),
    ("timm:tinynet_e", "1x3x106x106:float32"),
    ("timm:mixer_s32_224", "1x3x224x224:float32"),
    ("timm:resmlp_12_224", "1x3x224x224:float32"),
    ("regnet_y_400mf", "1x3x224x224:float32"),
    ("mobilenet_v3_large", "1x3x224x224:float32"),
    ("timm:mobilenetv4_conv_small", "1x3x224x224:float32"),
    ("timm:repvgg_a0", "1x3x224x224:float32"),
    ("timm:hardcorenas_a", "1x3x224x224:float32"),
    ("timm:fbnetc_100", "1x3x224x224:float32"),
    ("timm:efficientnet_lite0", "1x3x224x224:float32"),
    ("timm:poolformer_s12", "1x3x224x224:float32"),
    ("timm:convnextv2_atto", "1x3x224x224:float32"),
    ("resnet34", "1x3x224x224:float32"),
    ("googlenet", "1x3x224x224:float32"),
)
"""Small and medium models, with their inputs."""

OPTIONS: tuple[tuple[str, str], ...] = (
    ("pytorch", "float16"),
    ("pytorch", "int8-dynamic"),
    ("pytorch", "int8-weight-only"),
    ("pytorch", "int4-weight-only"),
    ("onnxruntime", "int8"),
    ("onnxruntime", "int8-dynamic"),
    ("onnxruntime", "int8-weight-only"),
    ("onnxruntime", "int4-weight-only"),
    ("executorch-xnnpack", "int8"),
)


@dataclass(frozen=True, slots=True, order=True)
class OptionFile:
    """One real file: `nbytes` as written."""

    runtime: str
    dtype: str
    model: str
    inputs: str
    nbytes: int


def read() -> tuple[OptionFile, ...]:
    """Return what is recorded."""
    if not DATA.exists():
        return ()
    with DATA.open(newline="") as file:
        return tuple(
            OptionFile(row["runtime"], row["dtype"], row["model"], row["inputs"], int(row["nbytes"]))
            for row in csv.DictReader(file)
        )


def write(files: tuple[OptionFile, ...]) -> None:
    with DATA.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(OptionFile)])
        writer.writerows(astuple(each) for each in sorted(files))
