"""GitHub annotations: workflow commands, which a runner of GitHub Actions reads from stdout."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgebudget.printable import one_line
from edgebudget.report import Report, chosen
from edgebudget.reporters._parts import headline
from edgebudget.verdict import Decision

# docs of Actions, "Workflow commands": what ends a message, and in a property what ends the property
_IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = {**_IN_MESSAGES, ":": "%3A", ",": "%2C"}
_MESSAGE, _PROPERTY = str.maketrans(_IN_MESSAGES), str.maketrans(_IN_PROPERTIES)


@dataclass(frozen=True)
class GithubReporter:
    """A command a line: an error for each (model, device) pair that has nothing that fits, a warning where it may not
    fit, an error for what grew too much or could not be estimated, and a notice with the verdict over all."""

    name: str = "github"
    suffix: str = ".log"

    def render(self, report: Report) -> str:
        return "".join(f"{line}\n" for line in _commands(report))


def _commands(report: Report) -> Iterator[str]:
    for (model, device), options in report.pairs().items():
        shown = chosen(options)
        if shown.decision is not Decision.GO:
            level = "warning" if shown.decision is Decision.MARGINAL else "error"
            what = f"{shown.dtype} on {shown.runtime}:"
            yield _command(level, f"{shown.decision}: {model} on {device}", [what, *shown.reasons], _file(model))
    for error in report.errors:
        yield _command("error", f"ERROR: {error.model}", [f"{error.message} {error.hint}".rstrip()], _file(error.model))
    if report.growth is not None:
        for change in report.growth.too_much:
            yield _command("error", f"Growth: {change.model} on {change.device}", [str(change)], _file(change.model))
        yield _command("notice", "edgebudget", [report.growth.headline])
    yield _command("notice", "edgebudget", [headline(report)])


def _command(level: str, title: str, lines: Sequence[str], file: str = "") -> str:
    properties = [f"file={one_line(file).translate(_PROPERTY)}"] if file else []
    properties.append(f"title={one_line(title).translate(_PROPERTY)}")
    message = "\n".join(one_line(line) for line in lines).translate(_MESSAGE)
    return f"::{level} {','.join(properties)}::{message}"


def _file(model: str) -> str:
    """Return the file that a reference names, so that the annotation stands beside it; "" for other references."""
    path, colon, _ = model.rpartition(":")
    return path if colon and path.endswith(".py") else ""


REPORTER = GithubReporter()
