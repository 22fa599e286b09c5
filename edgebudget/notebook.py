"""Tables for notebooks: plain HTML, with everything that varies escaped."""

from collections.abc import Sequence
from html import escape

from edgebudget.printable import one_line
from edgebudget.units import format_bytes


def table_html(caption: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return a table of two columns; a row without a word in its first spans both."""
    lines = []
    for word, text in rows:
        cell = escape(one_line(text))
        if word:
            lines.append(
                f"<tr><th style='text-align:left'>{escape(word)}</th><td style='text-align:right'>{cell}</td></tr>"
            )
        else:
            lines.append(f"<tr><td colspan='2' style='text-align:left'>{cell}</td></tr>")
    head = f"<caption style='text-align:left'><strong>{escape(one_line(caption))}</strong></caption>"
    return f"<table>{head}<tbody>{''.join(lines)}</tbody></table>"


def size_text(key: str, value: int | None) -> str:
    """Return the number under `key` as people read it, empty for what is not known."""
    if value is None:
        return ""
    return f"{value:,} ({format_bytes(value)})" if key.endswith("_bytes") else f"{value:,}"
