"""Self-contained pages: one shell with style, script and Plotly in the file, nothing loaded from elsewhere."""

import base64
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from edgebudget.printable import one_line
from edgebudget.units import format_bytes, format_signed_bytes

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = "edgebudget.figures"


def render_page(template: str, values: Mapping[str, object]) -> str:
    """Return the page that `template`, in this folder's `_templates`, makes of `values`, ending with a newline.

    A page that sets `draws` carries Plotly, compressed to 2 MB, and the script that draws its figures.
    """
    return environment().get_template(template).render(values).rstrip("\n") + "\n"


@cache
def environment() -> "Environment":
    """Return the environment of all pages: whatever varies is escaped by Jinja, nothing before it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(_TEMPLATES, "_templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"one_line": one_line, "size": format_bytes, "signed_size": format_signed_bytes}
    made.globals |= {"asset": _asset, "packed_plotly": packed_plotly}
    return made


@cache
def packed_plotly() -> str:
    """Return Plotly's script as base64 of a zlib stream, which every browser since 2023 unpacks: 2 MB, not 5."""
    from plotly.offline import get_plotlyjs

    return base64.b64encode(zlib.compress(get_plotlyjs().encode("utf-8"), 9)).decode("ascii")


def _asset(name: str) -> str:
    return (files(_TEMPLATES) / "_templates" / name).read_text(encoding="utf-8")
