"""What is measured on a GPU: the models of the recorded suite at three sizes in every dtype, smallest first."""

from collections.abc import Sequence

from edgebudget.measure.cuda.records import BACKEND
from edgebudget.measure.interface import Subject
from edgebudget.measure.suite import SUITE, WEIGHTS_QUANTIZED, Entry

DTYPES = ("float32", "float16", "bfloat16", "int8-weight-only", "int8-dynamic")
"""The last two need torchao and concern linear layers only: in the suite, the models of `WEIGHTS_QUANTIZED`."""

_SCALES = (5 / 7, 1, 10 / 7)  # 160, 224 and 320 of 224
_GRID = 32  # what networks divide their input by, all in all
_BATCHES = (1, 2, 4)
_ANY_SIDE = frozenset({"cnn", "segmentation", "enhancement"})


def subjects(entries: Sequence[Entry] = SUITE) -> tuple[Subject, ...]:
    """Return what is measured of `entries`: by model, then dtype, then size.

    Convolutional networks take any side and are measured at three; the others take one shape, in batches of 1, 2, 4.
    """
    return tuple(
        Subject(entry.model, inputs, BACKEND, dtype)
        for entry in entries
        for dtype in DTYPES
        if not dtype.startswith("int8") or entry.model in WEIGHTS_QUANTIZED
        for inputs in sizes(entry)
    )


def sizes(entry: Entry) -> tuple[tuple[str, ...], ...]:
    """Return the three sets of inputs that a model is measured at, smallest first."""
    if entry.kind in _ANY_SIDE:
        return tuple(tuple(_scaled(text, scale) for text in entry.inputs) for scale in _SCALES)
    return tuple(tuple(_batched(text, batch) for text in entry.inputs) for batch in _BATCHES)


def _scaled(text: str, scale: float) -> str:
    shape, _, dtype = text.partition(":")
    batch, channels, *sides = shape.split("x")
    if scale != 1:
        sides = [str(round(int(side) * scale / _GRID) * _GRID) for side in sides]
    return "x".join([batch, channels, *sides]) + ":" + dtype


def _batched(text: str, batch: int) -> str:
    _, _, rest = text.partition("x")
    return f"{batch}x{rest}"
