"""Markdown: the models side by side, then a table of layers each."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgebudget.inspection.layers import Inspection
from edgebudget.inspection.records import layer_name, marks, said, total_labels, total_record
from edgebudget.inspection.rows import Selection, select
from edgebudget.inspection.work import CONVENTION
from edgebudget.reporters.md import escape, table


@dataclass(frozen=True)
class MarkdownFormat:
    """Tables for pull requests and wikis."""

    name: str = "md"
    suffix: str = ".md"

    def render(self, inspections: Sequence[Inspection], selection: Selection) -> str:
        lines = ["# Layers", ""]
        if inspections:
            records = [total_record(inspection) for inspection in inspections]
            rows = [
                [label, *(escape(said(key, record[key])) for record in records)]
                for key, label in total_labels(inspections[0]).items()
            ]
            lines += [*table(["Total", *(escape(inspection.model) for inspection in inspections)], rows), ""]
        for inspection in inspections:
            lines += [f"## {escape(inspection.model)}", "", f"Inputs {escape(', '.join(inspection.inputs))}.", ""]
            lines += [*_layers(inspection, selection), ""]
            lines += [*(f"- {escape(note)}" for note in _notes(inspection)), ""]
        return "\n".join(lines).rstrip("\n") + "\n"


def _layers(inspection: Inspection, selection: Selection) -> list[str]:
    head = ["Layer", "Kind", "Inputs", "Outputs", "Parameters", "Share", "Buffers"]
    head += [f"Bytes, {dtype}" for dtype in inspection.dtypes] + [f"Alive, {dtype}" for dtype in inspection.dtypes]
    head += ["Multiply-adds", "Zeros", "Marks"]
    rows = []
    for layer in select(inspection, selection):
        sizes = [*layer.weight_bytes.values(), *layer.live_bytes.values()]
        rows.append(
            [
                escape(layer_name(layer)),
                escape(layer.kind),
                escape(", ".join(layer.inputs)),
                escape(", ".join(layer.outputs)),
                f"{layer.parameter_numel:,}",
                f"{layer.share:.2%}",
                f"{layer.buffer_numel:,}",
                *(f"{nbytes:,}" for nbytes in sizes),
                f"{layer.multiply_adds:,}",
                said("sparsity", layer.sparsity),
                marks(layer),
            ]
        )
    return table(head, rows)


def _notes(inspection: Inspection) -> list[str]:
    counted = [f"Not counted: {', '.join(inspection.not_counted)}."] if inspection.not_counted else []
    return [CONVENTION, *counted, *inspection.notes]


FORMAT = MarkdownFormat()
