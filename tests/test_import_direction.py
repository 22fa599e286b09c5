"""Data runs one way: a room imports only from the rooms below it, and torch only where it must."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgebudget

PACKAGE = Path(edgebudget.__file__).parent

# From the bottom to the top; rooms in one line do not import from each other.
LAYERS = [
    {"errors", "printable", "eager"},
    {"units", "registry"},
    {"graph", "target"},
    {"inputs"},
    {"tracing", "planning"},
    {"sources", "dtypes"},
    {"runtimes"},
    {"profiles"},
    {"estimation", "measure"},
    {"calibration"},
    {"verdict"},
    {"report", "suite"},
    {"reporters", "validation"},
    {"pipeline"},
    {"comparison", "sweep"},
    {"cli"},
    {"__main__"},
]
EXCEPTIONS = {
    # Fits are made from pairs of estimate and measurement, which validation reads from its files.
    "calibration/recorded.py": {"validation"},
}
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
WITH_TORCH = {"tracing", "sources", "measure"}
ASKING_TORCH = {"runtimes/_executorch_edge.py"}  # reads operator schemas, when it decomposes; never on being imported
HEAVY = {"torch", "torchvision", "timm", "pandas", "jsonschema", "executorch", "onnx", "onnxruntime", "numpy", "torchao"}


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(node: ast.AST, top_level: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield the modules that code imports, and whether on being imported itself; `if TYPE_CHECKING` does not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from ((alias.name, top_level) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "relative imports hide the direction"
            assert child.module is not None
            yield child.module, top_level
            if child.module == "edgebudget":
                yield from ((f"edgebudget.{alias.name}", top_level) for alias in child.names)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(child, top_level and not inside)


def imported_rooms(path: Path) -> set[str]:
    parts = [module.split(".") for module, _ in imports(ast.parse(path.read_text()))]
    return {part[1] for part in parts if part[0] == "edgebudget" and len(part) > 1} - {"__version__"}


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_from_the_rooms_below_it(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return  # the public face names homes, and imports them when asked
    assert room in LEVEL, f"{room} has no place among the layers"
    allowed = {room, *EXCEPTIONS.get(str(path.relative_to(PACKAGE)), ())}
    above = {other for other in imported_rooms(path) - allowed if LEVEL[other] >= LEVEL[room]}
    assert not above


def test_estimates_and_measurements_never_meet_in_code() -> None:
    for path in files():
        if room_of(path) in ("estimation", "runtimes", "dtypes", "planning", "tracing"):
            assert "measure" not in imported_rooms(path)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_is_imported_where_models_are_and_nowhere_else(path: Path) -> None:
    found = {module.split(".")[0]: now for module, now in sorted(imports(ast.parse(path.read_text())))}
    if room_of(path) not in WITH_TORCH and str(path.relative_to(PACKAGE)) not in ASKING_TORCH:
        assert not found.keys() & {"torch", "torchvision"}
    if room_of(path) not in WITH_TORCH - {"sources"}:
        assert not {name for name, now in found.items() if now and name in HEAVY} or path.name.startswith("_")


def run(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter holds after `code`."""
    listing = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import edgebudget; dir(edgebudget)",
        "import edgebudget.sources, edgebudget.dtypes, edgebudget.runtimes, edgebudget.planning, edgebudget.estimation\n"
        "list(edgebudget.sources.SOURCES), list(edgebudget.dtypes.DTYPES), list(edgebudget.runtimes.RUNTIMES)",
        "from edgebudget.sources import SOURCES; [source.claims('x') for _, source in SOURCES]",
    ],
    ids=["package", "registries", "claims"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    assert run(code) == set()


def test_the_public_names_resolve() -> None:
    assert sorted(edgebudget.__all__) == dir(edgebudget)
    for name in edgebudget.__all__:
        assert getattr(edgebudget, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgebudget.nothing
