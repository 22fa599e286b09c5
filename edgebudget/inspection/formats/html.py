"""HTML: the models side by side, the distribution of parameters and work over layers, and the tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgebudget import __version__
from edgebudget.figures.over_time import to_script_json
from edgebudget.figures.page import render_page
from edgebudget.inspection.layers import Inspection, Layer
from edgebudget.inspection.records import layer_name, marks, said, total_labels, total_record
from edgebudget.inspection.rows import Selection, select
from edgebudget.inspection.work import CONVENTION
from edgebudget.printable import one_line

_BARS = 40  # layers in a plot; the table has them all


@dataclass(frozen=True)
class HtmlFormat:
    """A page of its own, as the report of `check` is."""

    name: str = "html"
    suffix: str = ".html"

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        data: dict[str, Mapping[str, object]] = {}
        plots = [_plots(inspection, data) for inspection in inspections]
        return render_page(
            "layers.html",
            {
                "version": __version__,
                "inspections": inspections,
                "plots": plots,
                "tables": [select(inspection, selection) for inspection in inspections],
                "records": [total_record(inspection) for inspection in inspections],
                "labels": total_labels(inspections[0]) if inspections else {},
                "convention": CONVENTION,
                "layer_name": layer_name,
                "marks": marks,
                "said": said,
                "draws": bool(data),
                "figure_json": to_script_json(data),
            },
        )


@dataclass(frozen=True, slots=True)
class Plot:
    """A bar plot over layers: the id of its data, how many bars it has, and how many layers it leaves out."""

    id: str
    bars: int
    left_out: int


def _plots(inspection: Inspection, data: dict[str, Mapping[str, object]]) -> list[Plot]:
    """Add the data of a model's plots to `data`; returns the plots, each of the layers that have any of it."""
    whole = inspection.whole
    wanted: list[tuple[str, str, Callable[[Layer], int], int]] = [
        ("Parameters by layer", "parameters", lambda layer: layer.parameter_numel, whole.parameter_numel),
        ("Multiply-adds by layer", "multiply-adds", lambda layer: layer.multiply_adds, whole.multiply_adds),
    ]
    plots = []
    for title, unit, value, total in wanted:
        layers = sorted((part for part in inspection.parts if value(part)), key=lambda part: -value(part))
        if not layers:
            continue
        shown = layers[:_BARS]
        name = f"f{len(data)}"
        data[name] = {
            "title": title,
            "axis": f"{unit}, logarithmic",
            "unit": unit,
            "names": [one_line(f"{layer_name(layer)}: {layer.kind}") for layer in shown],
            "values": [value(layer) for layer in shown],
            "shares": [f"{value(layer) / total:.2%}" for layer in shown],
        }
        plots.append(Plot(name, len(shown), len(layers) - len(shown)))
    return plots


FORMAT = HtmlFormat()
