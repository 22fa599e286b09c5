"""Weights in int8, computed with after a cast."""

from edgebudget.dtypes._weights import WeightOption

OPTION = WeightOption(
    name="int8-weight-only",
    element_dtype="float32",
    description=(
        "Weights of linear layers take 1 byte an element and 5 bytes a row, and are cast back to compute in float32; "
        "activations, biases and all else stay float32."
    ),
    bits=8,
)
