"""What a JSON Schema cannot say about one profile file: its name, and names that other parts of the package know."""

from edgebudget.profiles.parse import Value
from edgebudget.profiles.schema import Problem, nearest

# Runtimes that a profile may name whether or not their model is installed.
_CONTRACT_RUNTIMES = ("pytorch", "executorch", "executorch-xnnpack", "onnxruntime", "tflite-micro")


def known_runtimes() -> list[str]:
    """Return every runtime that a profile may name."""
    # Imported here: listing devices needs no runtimes.
    from edgebudget.runtimes import RUNTIMES

    return sorted({*_CONTRACT_RUNTIMES, *RUNTIMES.names()})


def file_problems(data: dict[str, Value], stem: str) -> list[Problem]:
    """Return what is wrong with the names in a file called `stem`.yaml; values of a wrong type are the schema's."""
    problems = []
    name = data.get("name")
    if isinstance(name, str) and name != stem:
        problems.append(Problem(("name",), f"{name[:80]!r} is not the file's name; write 'name: {stem}'"))
    runtimes = data.get("runtimes")
    named = [(("runtimes", key), key) for key in runtimes] if isinstance(runtimes, dict) else []
    default = data.get("default_runtime")
    if isinstance(default, str):
        named.append((("default_runtime", ""), default))
    known = known_runtimes()
    for field, runtime in named:
        if runtime not in known:
            where = tuple(part for part in field if part)
            problems.append(Problem(where, f"unknown runtime {runtime[:80]!r}; {nearest(runtime, known)}"))
    extends = data.get("extends")
    if extends is not None and not isinstance(extends, str):
        problems.append(Problem(("extends",), "not a profile's name; write one, such as 'raspberrypi-4b'"))
    return problems
