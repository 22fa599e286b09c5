"""Which room may know which: data runs one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "edgebudget"

# A room knows the rooms of lower rank, and itself.
RANKS = {
    "errors": 0, "units": 0, "printable": 0, "eager": 0, "labels": 0,
    "registry": 1, "graph": 1, "target": 1, "notebook": 1,
    "inputs": 2, "suite": 2,
    "planning": 3, "tracing": 3, "machine": 3,
    "sources": 4,  # gives the trace what it takes, and knows its kinds of values
    "dtypes": 5,
    "runtimes": 6,
    "estimation": 7, "profiles": 7, "measure": 7,
    "evidence": 8,
    "calibration": 9,
    "verdict": 10,
    "validation": 11, "figures": 11,
    "report": 12,
    "fitting": 12,
    "reporters": 13, "timeline": 13,
    "pipeline": 14,
    "comparison": 15, "inspection": 15,
    "__init__": 16,
    "cli": 17,
    "__main__": 18,
}  # fmt: skip


def room(module: str) -> str:
    """Return the room of a dotted module name below `edgebudget`; the package itself is `__init__`."""
    return [*module.split("."), "__init__"][1]


def imports(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, wherever in the file, but for its types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edgebudget":
            yield node.module or ""
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "edgebudget")


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_no_room_knows_one_above_it(path: Path) -> None:
    own = room(".".join(("edgebudget", *path.relative_to(PACKAGE).with_suffix("").parts)))
    assert own in RANKS, f"give the room {own!r} its rank in this test"
    for module in imports(path):
        other = room(module)
        if other == "__init__":
            continue  # the version and the lazy public names
        assert other == own or RANKS[other] < RANKS[own], f"{own} imports {module}"


def test_only_one_file_of_the_command_line_writes() -> None:
    writers = [
        path.name
        for path in [*(PACKAGE / "cli").rglob("*.py"), *(PACKAGE / "reporters").rglob("*.py")]
        if any(word in path.read_text(encoding="utf-8") for word in ("open(", ".write_text(", "os.replace", "mkstemp"))
    ]
    assert sorted(writers) == ["__init__.py", "output.py"]  # the former opens the null device only
