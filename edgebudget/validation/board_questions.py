"""What boards are asked: which models in which dtype, on which board, with how much RAM available. Pure.

`BUILD` is what the rule that decides was looked at with, and changed for. `JUDGE` was written down before any of it ran
on a board with RAM taken away, and is what the rule is judged by: no model of it is in `BUILD` in any dtype, and
those of `UNMEASURED` are in no recorded measurement either, so no runtime model and no calibration knows them. What a
check says of any of them is held against the board by fits that have not seen its family.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgebudget.measure.interface import Subject
from edgebudget.measure.suite import SUITE

Of = Literal["peak", "kept", "low", "high"]
"""Raw peak, what of it has to stay in RAM, and the ends of the interval that a check of the day gave."""
Part = Literal["build", "judge"]
Budget = tuple[Of, float]

RUNTIME = "executorch-xnnpack"


@dataclass(frozen=True, slots=True)
class Question:
    """A model in a dtype on the board of a profile, with a share of one of its sizes available."""

    profile: str
    subject: Subject
    of: Of
    factor: float


@dataclass(frozen=True)
class Questions:
    """Models by the profile of their board, and the budgets each gets: `first` of all models, then the `others`."""

    boards: Mapping[str, str]
    first: Sequence[Budget]
    others: Sequence[Budget]

    def __iter__(self) -> Iterator[Question]:
        """Yield every question, those that a verdict must not get wrong of every model first."""
        for budgets in (self.first, self.others):
            for profile, names in self.boards.items():
                for name in names.split():
                    yield from (Question(profile, _subject(name), of, factor) for of, factor in budgets)


BUILD = Questions(
    {
        "raspberrypi-zero-2-w": "mobilenet_v2 mobilenet_v2:int8 resnet18:int8 timm:mobilenetv4_conv_small"
        " mobilenet_v3_small timm:lcnet_050 edgebudget.measure.zoo:lstm_cells",
        "raspberrypi-4b-1gb": "timm:efficientnet_lite0 mnasnet0_5 timm:tinynet_e mobilenet_v3_large squeezenet1_1"
        " timm:fbnetc_100 resnet18",
        "raspberrypi-4b-2gb": "shufflenet_v2_x0_5 timm:mobilenetv2_050 timm:hardcorenas_a lraspp_mobilenet_v3_large"
        " timm:efficientnet_lite0:int8 mobilenet_v3_large:int8 resnet18:int8",
    },
    first=(("peak", 1.3), ("kept", 0.88)),
    others=(("peak", 1.0),),
)

UNMEASURED = {
    "mnasnet0_75": "mnasnet",
    "shufflenet_v2_x1_5": "shufflenet_v2",
    "timm:dla46x_c": "dla",
    "timm:mobilenetv3_small_050": "mobilenet_v3",
    "timm:pit_ti_224": "pit",
    "timm:resnet10t": "resnet",
}
"""Models by family, of which others may have been measured."""

JUDGE = Questions(
    {
        "raspberrypi-zero-2-w": "timm:rexnet_100:int8 regnet_y_400mf edgebudget.measure.zoo:gru_cells"
        " edgebudget.measure.zoo:unet_small timm:edgenext_xx_small squeezenet1_0:int8 timm:mixer_s32_224"
        " mnasnet1_0:int8 timm:semnasnet_075:int8 efficientnet_b0:int8 timm:pit_ti_224 timm:mobilenetv3_small_050",
        "raspberrypi-3b-plus": "timm:mobilevit_xxs timm:spnasnet_100 shufflenet_v2_x1_0 mnasnet1_0"
        " timm:deit_tiny_patch16_224:int8 edgebudget.measure.zoo:super_resolution timm:convnextv2_atto:int8"
        " regnet_y_400mf:int8 edgebudget.measure.zoo:gru_sequence timm:ghostnet_100:int8 mnasnet0_75 alexnet:int8",
        "raspberrypi-4b-2gb": "timm:semnasnet_075 squeezenet1_0 edgebudget.measure.zoo:lstm_sequence"
        " timm:deit_tiny_patch16_224 timm:rexnet_100 timm:dla46x_c:int8 timm:edgenext_xx_small:int8"
        " regnet_x_800mf:int8 shufflenet_v2_x1_5 timm:resnet10t timm:mixnet_s:int8 alexnet",
    },
    first=(("low", 0.94), ("high", 1.04)),
    others=(("peak", 1.0),),
)
"""Boards of two cores and three sizes of RAM. Their models are those that an emulator runs within a minute or so and
that take 7 MB and more at best: of fewer, six percent are less than a board can be counted to."""

QUESTIONS: Mapping[Part, Questions] = {"build": BUILD, "judge": JUDGE}

_IMAGE = ("1x3x224x224:float32",)
_INPUTS = {entry.model: entry.inputs for entry in SUITE}


def _subject(name: str) -> Subject:
    model, dtype = (name.removesuffix(":int8"), "int8") if name.endswith(":int8") else (name, "float32")
    return Subject(model, _INPUTS.get(model, _IMAGE), RUNTIME, dtype)
