"""Weights in groups of 4-bit integers."""

from edgebudget.dtypes._weights import WeightOption

GROUP_NUMEL = 32
"""Elements of a row with one scale: the smallest group that torchao, XNNPACK and ONNX Runtime all take."""

OPTION = WeightOption(
    name="int4-weight-only",
    element_dtype="float32",
    description=(
        f"Weights of linear layers whose rows {GROUP_NUMEL} divides take half a byte an element and 5 bytes a group of "
        f"{GROUP_NUMEL}; activations, biases and all else stay float32."
    ),
    bits=4,
    group_numel=GROUP_NUMEL,
)
