"""Weights in int8 ahead of time, activations quantized as each covered operator reads them."""

from edgebudget.dtypes._weights import WeightOption

OPTION = WeightOption(
    name="int8-dynamic",
    element_dtype="int8",
    description=(
        "Weights of linear layers take 1 byte an element and 5 bytes a row; activations stay float32 and are quantized "
        "to int8 as a covered operator reads them; biases and all else stay float32."
    ),
    bits=8,
)
