"""Every floating-point tensor in bfloat16."""

from edgebudget.dtypes._floating import FloatingOption

OPTION = FloatingOption(
    "bfloat16", "bfloat16", "All floating-point tensors take 2 bytes an element; other tensors keep their type."
)
