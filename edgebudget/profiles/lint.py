"""What is wrong or doubtful in profile files, line by line: schema, units, plausibility, sources, cores, aliases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgebudget.errors import ProfileError
from edgebudget.profiles.convert import to_profile
from edgebudget.profiles.cores import unknown_cores
from edgebudget.profiles.find import ProfileFile, aliases, is_abstract
from edgebudget.profiles.folders import SUFFIXES, Folder, display_path, profile_folders
from edgebudget.profiles.interface import DeviceProfile
from edgebudget.profiles.parse import Document, Field, Place, UnreadableProfileError, Value, dotted
from edgebudget.profiles.resolve import Link, merge_chain, read_chain
from edgebudget.profiles.rules import file_problems
from edgebudget.profiles.schema import Problem, schema_problems
from edgebudget.units import format_bytes

# Settings, not figures: they need no source.
_SETTINGS = (("memory", "safety_margin"), ("memory", "weights_in"))


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to correct: where (line and column from 1; `field` empty for the file as a whole), and what."""

    file: str
    line: int
    column: int
    field: str
    message: str

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        return f"{self.file}:{self.line}:{self.column}: {field}{self.message}"


def lint_paths(paths: Sequence[Path], folders: Sequence[Folder] | None = None) -> tuple[Finding, ...]:
    """Return the findings in these files and in the profiles of these folders, sorted; what they extend may stand in
    `folders`, by default those in use. Raises ProfileError for a path that does not exist."""
    searched = profile_folders() if folders is None else folders
    findings: list[Finding] = []
    for path in paths:
        if path.is_dir():
            files = [ProfileFile(file, shipped=False) for file in Folder(path, shipped=False).files().values()]
        elif path.is_file() and path.name.endswith(SUFFIXES):
            files = [ProfileFile(path, shipped=False)]
        else:
            raise ProfileError(f"{path}: neither a folder nor a .yaml file.", "Name an existing one.")
        documents = []
        for file in files:
            try:
                chain = read_chain(file, searched, lambda link: None)
            except ProfileError as error:
                findings.append(_unreadable(file, error))
                continue
            documents.append(chain[0].document)
            findings.extend(lint_chain(chain))
        findings.extend(lint_names(documents))
    return tuple(sorted(set(findings)))


def lint_chain(chain: list[Link]) -> tuple[Finding, ...]:
    """Return the findings in a chain's first file, with what it inherits from the others. Pure."""
    document = chain[0].document
    stem = chain[0].file.path.stem
    problems = schema_problems(document.data) + file_problems(document.data, stem)
    if not problems:
        merged = merge_chain(chain)
        if len(chain) > 1 and not is_abstract(merged):
            problems = schema_problems(merged.data)
        if not problems:
            problems = [*_sources(document.data, merged.data), *_cores(document.data)]
            if not is_abstract(merged):
                problems += _plausibility(to_profile(merged.data))
    return tuple(sorted(_finding(document, problem) for problem in problems))


def lint_names(documents: Sequence[Document]) -> tuple[Finding, ...]:
    """Return the aliases in one folder that belong to another profile as well, as its name or an alias. Pure."""
    names = {Path(document.path).stem: document for document in documents}
    findings = []
    for document in documents:
        for index, alias in enumerate(aliases(document)):
            owners = [other for other in documents if other is not document and alias in aliases(other)]
            owners += [names[alias]] if alias in names else []
            for owner in owners:
                message = f"{alias!r} is also a name in {Path(owner.path).name}; take it out of one of them"
                findings.append(_finding(document, Problem(("aliases", index), message)))
    return tuple(findings)


def _unreadable(file: ProfileFile, error: ProfileError) -> Finding:
    shown = display_path(file.path)
    if isinstance(error, UnreadableProfileError) and str(error).startswith(shown + ":"):
        return Finding(shown, error.place.line, error.place.column, "", error.problem)
    try:
        place = file.read().place(("extends",))
    except ProfileError:
        place = Place(1, 1)
    return Finding(shown, place.line, place.column, "extends", str(error).removeprefix(f"{shown}: extends: "))


def _finding(document: Document, problem: Problem) -> Finding:
    place = document.place(problem.field)
    return Finding(document.path, place.line, place.column, dotted(problem.field), problem.message)


def _sources(own: dict[str, Value], merged: dict[str, Value]) -> Iterator[Problem]:
    """Figures that stand in this file without a source, and sources for what is not there."""
    listed = merged.get("sources")
    sourced = [source.get("field") for source in listed if isinstance(source, dict)] if isinstance(listed, list) else []
    for field in figures(own):
        if dotted(field) not in sourced:
            yield Problem(
                field, "has no source; add one under 'sources', with 'confidence: estimated' where nobody measured it"
            )
    ours = own.get("sources")
    for index, source in enumerate(ours if isinstance(ours, list) else []):
        about = source.get("field") if isinstance(source, dict) else None
        if isinstance(about, str) and not _has(merged, about):
            yield Problem(("sources", index, "field"), f"there is no {about!r} in this profile; correct the path")


def figures(data: dict[str, Value]) -> Iterator[Field]:
    """Yield the fields of a profile's data that need a source: its sizes and what it claims of dtypes. Pure."""
    for group in ("memory", "storage", "dtypes"):
        values = data.get(group)
        for key in values if isinstance(values, dict) else ():
            if (group, key) not in _SETTINGS:
                yield (group, key)
    if "accelerators" in data:
        yield ("accelerators",)
    runtimes = data.get("runtimes")
    for name, runtime in runtimes.items() if isinstance(runtimes, dict) else ():
        if isinstance(runtime, dict) and "overhead" in runtime:
            yield ("runtimes", name, "overhead")


def _has(data: dict[str, Value], path: str) -> bool:
    value: Value = data
    for part in path.split("."):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def _cores(data: dict[str, Value]) -> Iterator[Problem]:
    cpu = data.get("cpu")
    cores = cpu.get("cores") if isinstance(cpu, dict) else None
    for index, core in enumerate(cores if isinstance(cores, list) else []):
        if isinstance(core, str) and unknown_cores([core]):
            yield Problem(
                ("cpu", "cores", index),
                f"{core!r} is not in the table of cores, so its dtypes follow from the instruction set alone; "
                "correct the name or add it to edgebudget/profiles/cores.py",
            )


def _plausibility(profile: DeviceProfile) -> Iterator[Problem]:
    memory, storage = profile.memory, profile.storage
    limits = [
        ("os_visible", memory.os_visible_bytes, "ram", memory.ram_bytes),
        ("idle_available", memory.idle_available_bytes, "ram", memory.ram_bytes),
        ("idle_available", memory.idle_available_bytes, "os_visible", memory.os_visible_bytes),
        ("process_limit", memory.process_limit_bytes, "ram", memory.ram_bytes),
    ]
    for key, nbytes, limit, limit_bytes in limits:
        if nbytes is not None and limit_bytes is not None and nbytes > limit_bytes:
            yield Problem(
                ("memory", key), f"{format_bytes(nbytes)} is above memory.{limit}, {format_bytes(limit_bytes)}"
            )
    if memory.os_visible_bytes is not None and profile.budget_bytes > memory.os_visible_bytes:
        yield Problem(("memory",), f"the budget, {format_bytes(profile.budget_bytes)}, is above memory.os_visible")
    if profile.budget_bytes == 0:
        yield Problem(("memory",), "leaves a budget of 0 bytes; no model can ever fit")
    if sum(region.size_bytes for region in memory.regions) > memory.ram_bytes and not any(
        region.speed == "slow" for region in memory.regions
    ):
        yield Problem(("memory", "regions"), "add up to more than memory.ram")
    region = memory.largest_region
    if region is not None and memory.process_limit_bytes is not None and memory.process_limit_bytes > region.size_bytes:
        shown = f"{format_bytes(memory.process_limit_bytes)} is above the largest of memory.regions"
        yield Problem(("memory", "process_limit"), f"{shown}, {format_bytes(region.size_bytes)}")
    free, capacity = storage.available_for_model_bytes, storage.capacity_bytes
    if free is not None and capacity is not None and free > capacity:
        yield Problem(
            ("storage", "available_for_model"),
            f"{format_bytes(free)} is above storage.capacity, {format_bytes(capacity)}",
        )
