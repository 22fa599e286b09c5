"""Input shapes as people write them: `1x3x224x224` or `1x128:int64`."""

import re
from dataclasses import dataclass
from math import prod

from edgebudget.errors import UsageError
from edgebudget.graph import ITEMSIZE

MAX_INPUT_NUMEL = 2**40  # a terabyte of bytes: beyond it a shape is a typing error, not an input
_DIMENSION = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One example input: its shape, and its dtype where the user named one (else the source decides)."""

    shape: tuple[int, ...]
    dtype: str | None = None

    @property
    def nbytes(self) -> int:
        """What the tensor takes; float32 where no dtype was named."""
        return prod(self.shape) * ITEMSIZE[self.dtype or "float32"]

    def __str__(self) -> str:
        text = "x".join(map(str, self.shape)) if self.shape else "scalar"
        return text if self.dtype is None else f"{text}:{self.dtype}"


def parse_input(text: str) -> InputSpec:
    """Return the shape and dtype that `text` names, e.g. `1x3x224x224` or `1x128:int64`.

    Raises UsageError for what is not such a text, an empty or absurdly large dimension, or an unknown dtype.
    """
    shape_text, colon, dtype = text.strip().partition(":")
    parts = re.split("[xX]", shape_text)
    if not all(_DIMENSION.fullmatch(part) for part in parts):
        raise UsageError(
            f"--input {text[:100]!r} is not a shape: dimensions are whole numbers joined by 'x'.",
            "Write, for example, 1x3x224x224 or 1x128:int64.",
        )
    shape = tuple(int(part) for part in parts)
    if 0 in shape:
        raise UsageError(
            f"--input {text[:100]!r} is empty: dimension {shape.index(0) + 1} is 0.",
            "Give every dimension at least one element.",
        )
    if prod(shape) > MAX_INPUT_NUMEL:
        raise UsageError(
            f"--input {text[:100]!r} has {prod(shape):,} elements, more than any device holds.",
            f"Stay below {MAX_INPUT_NUMEL:,} elements.",
        )
    if colon and dtype not in ITEMSIZE:
        raise UsageError(
            f"--input {text[:100]!r} names the unknown dtype {dtype[:40]!r}.", f"Use one of {', '.join(ITEMSIZE)}."
        )
    return InputSpec(shape, dtype or None)
