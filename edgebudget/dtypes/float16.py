"""Every floating-point tensor in float16."""

from edgebudget.dtypes._floating import FloatingOption

OPTION = FloatingOption(
    "float16", "float16", "All floating-point tensors take 2 bytes an element; other tensors keep their type."
)
