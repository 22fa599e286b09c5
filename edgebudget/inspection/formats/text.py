"""Text for terminals: the table people know, as wide as the terminal is."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgebudget.inspection.layers import Inspection, Layer
from edgebudget.inspection.records import layer_name, marks, said, total_labels, total_record
from edgebudget.inspection.rows import Selection, select
from edgebudget.inspection.work import CONVENTION
from edgebudget.printable import one_line
from edgebudget.units import format_bytes

_NARROW, _WIDE = 80, 160
_NAMED = 8  # layers named behind a mark
_ROOM_FOR_DTYPES = 110  # columns from which on the bytes under each dtype stand in the table


@dataclass(frozen=True)
class TextFormat:
    """Tables without colour."""

    name: str = "text"
    suffix: str = ".txt"

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        width = min(max(shutil.get_terminal_size((_NARROW, 24)).columns, _NARROW), _WIDE)
        out = StringIO()
        console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
        for inspection in inspections:
            console.print(_text(f"{inspection.model}, inputs {', '.join(inspection.inputs)}"))
            layers = select(inspection, selection)
            console.print(_layers(inspection, layers, selection, width))
            for line in _marked(layers):
                console.print(_text(line))
        if inspections:
            console.print(_totals(inspections))
        counted = {op for inspection in inspections for op in inspection.not_counted}
        said_of = [CONVENTION] + ([f"Not counted: {', '.join(sorted(counted))}."] if counted else [])
        for inspection in inspections:
            said_of += [f"{inspection.model}: {note}" if len(inspections) > 1 else note for note in inspection.notes]
        for note in said_of:
            grid = Table.grid(padding=(0, 1))
            grid.add_row("-", _text(note))
            console.print(grid)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _layers(inspection: Inspection, layers: Sequence[Layer], selection: Selection, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=True)
    dtypes = inspection.dtypes if width >= _ROOM_FOR_DTYPES else ()
    first = inspection.dtypes[0] if inspection.dtypes else ""
    with_zeros = any(layer.zero_numel is not None for layer in layers)
    in_order = selection.sort == "model"  # where a folded name would break the tree that the indents draw
    table.add_column("layer", overflow="ellipsis" if in_order else "fold", no_wrap=in_order, ratio=1)
    table.add_column("output", overflow="fold", min_width=12, max_width=14 if width < _ROOM_FOR_DTYPES else 20)
    table.add_column("parameters", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    for dtype in dtypes:
        table.add_column(_text(dtype), justify="right", no_wrap=True)
    table.add_column("alive", justify="right", no_wrap=True)
    table.add_column("mult-adds", justify="right", no_wrap=True)
    if with_zeros:
        table.add_column("zeros", justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(
            _text(_name(layer, selection)),
            _text(", ".join(shape.split(":")[0] for shape in layer.outputs)),
            f"{layer.parameter_numel:,}" if layer.parameter_numel else "-",
            f"{layer.share:.1%}" if layer.parameter_numel else "-",
            *(format_bytes(layer.weight_bytes[dtype]) if layer.weight_bytes[dtype] else "-" for dtype in dtypes),
            format_bytes(layer.live_bytes[first]) if first and layer.live_bytes[first] else "-",
            _short(layer.multiply_adds),
            *([said("sparsity", layer.sparsity)] if with_zeros else []),
        )
    return table


def _marked(layers: Sequence[Layer]) -> list[str]:
    """Return a line for each mark, with the layers that have it."""
    holders: dict[str, list[str]] = {}
    for layer in layers:
        if layer.path and marks(layer):
            holders.setdefault(marks(layer), []).append(layer.path)
    more = {mark: len(paths) - _NAMED for mark, paths in holders.items()}
    return [
        f"{mark}: {', '.join(paths[:_NAMED])}{f' and {more[mark]} more' if more[mark] > 0 else ''}"
        for mark, paths in holders.items()
    ]


def _name(layer: Layer, selection: Selection) -> str:
    """Return the layer indented under its parents in the model's order, with its whole path in any other."""
    if selection.sort == "model":
        name = layer.path.rpartition(".")[2]
        return f"{'  ' * layer.depth}{name} {layer.kind}" if name else layer.kind
    return f"{layer_name(layer)} {layer.kind}"


def _totals(inspections: Sequence[Inspection]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=len(inspections) > 1)
    table.add_column("total")
    for inspection in inspections:
        table.add_column(_text(inspection.model), justify="right", overflow="fold")
    records = [total_record(inspection) for inspection in inspections]
    for key, label in total_labels(inspections[0]).items():
        if any(record[key] is not None for record in records):
            table.add_row(_text(label), *(_cell(key, record[key]) for record in records))
    return table


def _cell(key: str, value: int | float | str | None) -> Text:
    if key.endswith("_bytes") and isinstance(value, int):
        return Text(f"{value:,} ({format_bytes(value)})")
    return Text(said(key, value))


def _short(count: int) -> str:
    for unit, factor in (("T", 10**12), ("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 999.5 * factor else f"{count / factor:.0f} {unit}"
    return str(count) if count else "-"


def _text(text: str) -> Text:
    return Text(one_line(text))


FORMAT = TextFormat()
