"""Text of unknown origin, made fit to be shown."""

import unicodedata


def one_line(text: str) -> str:
    """Return `text` with what would break a line, drive a terminal or turn the reading direction shown as escapes."""
    return "".join(_visible(char) for char in text)


def _visible(char: str) -> str:
    controls = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    turns = unicodedata.bidirectional(char) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    return char.encode("unicode_escape").decode("ascii") if controls or turns else char
