"""Text for terminals: the verdict first, then how each number is made."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edgebudget.figures.parts import peak_parts
from edgebudget.printable import one_line
from edgebudget.report import Group, Report, chosen
from edgebudget.reporters._parts import (
    dtypes,
    headline,
    peak_op_text,
)
from edgebudget.units import format_bytes, format_signed_bytes
from edgebudget.verdict import CheckResult, Decision

_EXPLAINED = 10  # pairs; of more than these, only what is not GO is explained: nobody reads further


@dataclass(frozen=True)
class TextReporter:
    """Tables without colour, `width` columns wide."""

    name: str = "text"
    suffix: str = ".txt"
    width: int = 80

    def render(self, report: Report) -> str:
        out = StringIO()
        console = Console(file=out, width=self.width, color_system=None, force_terminal=False, legacy_windows=False)
        console.print(_text(headline(report)))
        for (device, runtime), rows in _tables(report).items():
            console.print()
            console.print(_text(f"{device}, {runtime}: verdict and the high end of the peak"))
            console.print(_matrix(rows, dtypes(report)))
        shown = [chosen(options) for options in report.pairs().values()]
        explained = [option for option in shown if len(shown) <= _EXPLAINED or option.decision is not Decision.GO]
        for option in explained:
            _explain(console, option)
        if len(explained) < len(shown):
            console.print()
            left_out = f"The numbers of {len(shown) - len(explained)} pairs that are GO are left out here"
            console.print(_text(f"{left_out}; the other formats, and a check of fewer pairs, show them."))
        for error in report.errors:
            where = f" on {error.device}" if error.device else ""
            console.print()
            console.print(_text(f"{error.model}{where}: ERROR"))
            console.print(Padding(_text(f"{error.message} {error.hint}".rstrip()), (0, 0, 0, 2)))
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _tables(report: Report) -> dict[tuple[str, str], list[Group]]:
    tables: dict[tuple[str, str], list[Group]] = {}
    for group in report.groups():
        tables.setdefault((group.device, group.runtime), []).append(group)
    return tables


def _matrix(rows: Sequence[Group], columns: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("model", overflow="fold", max_width=30)
    for dtype in columns:
        table.add_column(_text(dtype), overflow="fold", justify="right")
    table.add_column("take", overflow="fold")
    for group in rows:
        cells = {option.dtype: _cell(option) for option in group.options}
        take = next((option.dtype for option in group.options if option.recommended), "-")
        table.add_row(_text(group.model), *(cells.get(dtype, Text("-")) for dtype in columns), _text(take))
    return table


def _cell(option: CheckResult) -> Text:
    if option.peak_high_bytes is None:
        return Text(option.decision)
    return Text(f"{option.decision}\n{format_bytes(option.peak_high_bytes)}")


def _explain(console: Console, option: CheckResult) -> None:
    console.print()
    advice = f"{option.decision}, take {option.dtype}" if option.decision is Decision.GO else str(option.decision)
    console.print(_text(f"{option.model} on {option.device}: {advice}"))
    asked = f"{option.runtime}, {option.dtype}, batch {option.batch}, inputs {', '.join(option.inputs) or 'none'}"
    console.print(Padding(_text(asked), (0, 0, 0, 2)))
    if option.raw_peak_bytes is not None:
        console.print(Padding(_numbers(option), (0, 0, 0, 2)))
    for reason in option.reasons:
        grid = Table.grid(padding=(0, 1))
        grid.add_row("  -", _text(reason))
        console.print(grid)


def _numbers(option: CheckResult) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("part", overflow="fold")
    table.add_column("how", overflow="fold")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)

    def row(part: str, how: str, nbytes: int | None) -> None:
        exact, size = ("", "") if nbytes is None else (f"{nbytes:,}", format_bytes(nbytes))
        table.add_row(_text(part), _text(how), exact, size)

    at_once = _elements(option.activation_peak_numel, option.activation_lower_bound_bytes)
    phase = "load" if (option.load_peak_bytes or 0) > (option.inference_peak_bytes or 0) else "inference"
    parts = " + ".join(f"{word} {format_bytes(nbytes)}" for word, nbytes in peak_parts(option) if nbytes)
    row("parameters", _elements(option.parameter_numel, option.parameter_bytes), option.parameter_bytes)
    row("buffers", _elements(option.buffer_numel, option.buffer_bytes), option.buffer_bytes)
    row("activations", f"at once at most: {at_once}", option.activation_lower_bound_bytes)
    row("", f"as {option.runtime} holds them", option.activation_bytes)
    if option.peak_op is not None:
        row("", f"most at {peak_op_text(option.peak_op)}", None)
    row("load peak", "heap + mapped file + runtime", option.load_peak_bytes)
    row("inference peak", "heap + mapped file + runtime", option.inference_peak_bytes)
    row("peak", f"at {phase}: {parts}", option.raw_peak_bytes)
    row("", f"calibrated by {option.calibration}" if option.calibration else "not calibrated", option.peak_bytes)
    row("", "low end of the interval", option.peak_low_bytes)
    row("", "high end of the interval", option.peak_high_bytes)
    row("RAM budget", "", option.budget_bytes)
    if option.headroom_bytes is not None:
        margin, size = f"{option.headroom_bytes:+,}", format_signed_bytes(option.headroom_bytes)
        table.add_row("margin", "RAM budget - high end", margin, size)
    row("model file", "", option.storage_bytes)
    row("storage budget", "not known" if option.storage_budget_bytes is None else "", option.storage_budget_bytes)
    return table


def _elements(numel: int | None, nbytes: int | None) -> str:
    """Return `3,504,872 x 4 bytes`, or the mean size of an element where they differ in size."""
    if not numel or not nbytes:
        return "none" if not nbytes else "not counted in elements"
    if nbytes % numel == 0:
        return f"{numel:,} x {nbytes // numel} bytes"
    return f"{numel:,} x {nbytes / numel:.3f} bytes in the mean"


def _text(text: str) -> Text:
    return Text(one_line(text))


REPORTER = TextReporter()
