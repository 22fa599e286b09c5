"""Profiles as rows, as plain text and as a page: what `devices list` and `devices show` print. Pure."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from edgebudget.printable import one_line
from edgebudget.profiles.interface import Accelerator, DeviceProfile
from edgebudget.units import format_bytes


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One device in a list; sizes in bytes, None where unknown."""

    name: str
    aliases: tuple[str, ...]
    device_class: str
    ram_bytes: int
    budget_bytes: int
    storage_bytes: int | None
    default_runtime: str
    budget_is_estimated: bool

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of `LIST_HEADINGS`."""
        return (
            self.name,
            ", ".join(self.aliases),
            self.device_class,
            format_bytes(self.ram_bytes),
            format_bytes(self.budget_bytes),
            "-" if self.storage_bytes is None else format_bytes(self.storage_bytes),
            self.default_runtime,
            "estimated" if self.budget_is_estimated else "sourced",
        )


_COLUMNS = 80

LIST_HEADINGS = ("device", "aliases", "class", "RAM", "budget", "for models", "runtime", "budget is")


@dataclass(frozen=True, slots=True)
class DetailRow:
    """One figure of a device with one of its sources; `title`, `read_on` and `confidence` are empty for what is no
    figure (a name, a setting) or follows from others."""

    field: str
    value: str
    title: str = ""
    read_on: str = ""
    confidence: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the row as text, one cell for each of `SHOW_HEADINGS`."""
        return (self.field, self.value, self.confidence, self.read_on, self.title)


SHOW_HEADINGS = ("field", "value", "how sure", "read on", "source")


def device_rows(profiles: Iterable[DeviceProfile]) -> tuple[DeviceRow, ...]:
    """Return one row a profile, in their order."""
    return tuple(
        DeviceRow(
            name=profile.name,
            aliases=profile.aliases,
            device_class=profile.device_class,
            ram_bytes=profile.memory.ram_bytes,
            budget_bytes=profile.budget_bytes,
            storage_bytes=profile.storage.available_for_model_bytes,
            default_runtime=profile.default_runtime,
            budget_is_estimated=profile.budget_is_estimated,
        )
        for profile in profiles
    )


def detail_rows(profile: DeviceProfile) -> tuple[DetailRow, ...]:
    """Return every figure of a profile with its sources (a row each), then what follows from them."""
    rows: list[DetailRow] = [
        DetailRow("name", profile.name),
        DetailRow("aliases", ", ".join(profile.aliases) or "-"),
        DetailRow("display_name", profile.display_name),
        DetailRow("class", profile.device_class),
    ]
    for field, value in _figures(profile):
        rows += _sourced(profile, field, value)
    how = "the smallest limit on memory, less the safety margin"
    rows.append(DetailRow("budget", _exact(profile.budget_bytes), how))
    for name, nbytes in profile.runtimes.items():
        own = "" if nbytes is not None else ", with the runtime's own figure"
        is_default = name == profile.default_runtime
        rows.append(DetailRow(f"runtimes.{name}", ("default" if is_default else "possible") + own))
        if nbytes is not None:
            rows += _sourced(profile, f"runtimes.{name}.overhead", _exact(nbytes))
    rows += [DetailRow("note", note) for note in profile.notes]
    return tuple(rows)


def list_text(rows: Sequence[DeviceRow]) -> str:
    """Return the list of devices as a plain table."""
    return _table(LIST_HEADINGS, [row.cells() for row in rows])


def show_text(profile: DeviceProfile) -> str:
    """Return a device's details as plain text, each figure with its source below it, for a terminal of 80 columns."""
    rows = detail_rows(profile)
    indent = max(len(row.field) for row in rows) + 2
    lines: list[str] = []
    for row in rows:
        lines += _wrapped(row.value, row.field.ljust(indent), " " * indent)
        if row.title:
            known = ", ".join(filter(None, (row.confidence, row.read_on)))
            lines += _wrapped(f"{known}: {row.title}" if known else row.title, " " * indent, " " * indent)
    return "".join(f"{line}\n" for line in lines)


def show_html(profile: DeviceProfile) -> str:
    """Return a device's details as one page: no script, nothing loaded from elsewhere."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"one_line": one_line, "size": format_bytes}
    source = files("edgebudget.profiles").joinpath("_templates/device.html").read_text(encoding="utf-8")
    page = environment.from_string(source).render(
        profile=profile, headings=SHOW_HEADINGS, rows=detail_rows(profile), estimated=profile.estimated_fields
    )
    return page.rstrip("\n") + "\n"


RENDERERS: Mapping[str, Callable[[DeviceProfile], str]] = {"text": show_text, "html": show_html}


def _figures(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    memory, storage = profile.memory, profile.storage
    sizes = [
        ("memory.ram", memory.ram_bytes),
        ("memory.os_visible", memory.os_visible_bytes),
        ("memory.idle_available", memory.idle_available_bytes),
        ("memory.process_limit", memory.process_limit_bytes),
        ("storage.capacity", storage.capacity_bytes),
        ("storage.available_for_model", storage.available_for_model_bytes),
    ]
    yield from ((field, _exact(nbytes)) for field, nbytes in sizes if nbytes is not None)
    if memory.regions:
        regions = (f"{region.name} {format_bytes(region.size_bytes)} ({region.speed})" for region in memory.regions)
        yield "memory.regions", ", ".join(regions)
    yield "memory.safety_margin", f"{memory.safety_margin_percent:g} %"
    yield "memory.weights_in", memory.weights_in
    for accelerator in profile.accelerators:
        yield "accelerators", _accelerator(accelerator)
    yield "cpu.isa", f"{profile.cpu.isa}, {profile.cpu.pointer_bits}-bit pointers"
    yield "cpu.cores", ", ".join(profile.cpu.cores) or "not known"
    yield from ((f"dtypes.{dtype}", support) for dtype, support in profile.dtypes.items())


def _accelerator(accelerator: Accelerator) -> str:
    """Return an accelerator in one line: `Edge TPU (int8): parameter cache 8.00 MiB for weights`."""
    mode = f", {accelerator.mode}" if accelerator.mode else ""
    memories = "; ".join(
        f"{memory.name} {format_bytes(memory.size_bytes)} "
        + {"weights": "for weights", "activations": "for activations", "both": "for all", "cache": "as a cache"}[
            memory.holds
        ]
        for memory in accelerator.memories
    )
    return f"{accelerator.name}{mode} ({', '.join(accelerator.dtypes) or 'dtypes not known'}): {memories or 'the RAM'}"


def _sourced(profile: DeviceProfile, field: str, value: str) -> list[DetailRow]:
    sources = [DetailRow(field, value, s.title, s.read_on, s.confidence) for s in profile.sources_of(field)]
    return sources or [DetailRow(field, value, "follows from the cores" if field.startswith("dtypes.") else "")]


def _wrapped(text: str, first: str, others: str) -> list[str]:
    wrapped = textwrap.wrap(
        one_line(text), _COLUMNS, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
    return wrapped or [first.rstrip()]


def _exact(nbytes: int) -> str:
    return f"{format_bytes(nbytes)} ({nbytes:,} B)"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [headings, *rows]]
    return "".join(f"{line.rstrip()}\n" for line in lines)
