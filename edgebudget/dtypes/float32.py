"""Every floating-point tensor in float32."""

from edgebudget.dtypes._floating import FloatingOption

OPTION = FloatingOption(
    "float32", "float32", "All floating-point tensors take 4 bytes an element; other tensors keep their type."
)
