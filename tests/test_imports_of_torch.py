"""Torch is imported only where models are, and nothing heavy before it is needed."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgebudget

PACKAGE = Path(edgebudget.__file__).parent

WITH_TORCH = {"tracing", "sources", "measure", "inspection"}
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "pandas",
    "jsonschema",
    "executorch",
    "onnx",
    "onnxruntime",
    "torchao",
    "plotly",
}


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


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_torch_is_imported_where_models_are_and_nowhere_else(path: Path) -> None:
    found = list(imports(ast.parse(path.read_text())))
    heavy = {module for module, _ in found if module.split(".")[0] in {"torch", "torchvision"}}
    at_once = {module for module, now in found if now} & heavy
    if room_of(path) == "runtimes" and path.name.startswith("_executorch"):
        assert not at_once  # reads the schemas of operators when it decomposes a trace, which torch made
    elif room_of(path) not in WITH_TORCH:
        assert not heavy


def run(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter holds after `code`."""
    listing = f"{code}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    command = [sys.executable, "-c", listing]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import edgebudget; dir(edgebudget)",
        "import edgebudget.sources, edgebudget.dtypes, edgebudget.runtimes, edgebudget.estimation\n"
        "list(edgebudget.sources.SOURCES), list(edgebudget.dtypes.DTYPES), list(edgebudget.runtimes.RUNTIMES)",
        "from edgebudget.sources import SOURCES; [source.claims('x') for _, source in SOURCES]",
        "import edgebudget.inspection.formats, edgebudget.timeline, edgebudget.reporters\n"
        "list(edgebudget.inspection.formats.FORMATS), list(edgebudget.timeline.TIMELINES)\n"
        "from tests.handmade import REPORT\n"
        "for name in edgebudget.reporters.REPORTERS.names():\n"
        "    if name != 'csv': edgebudget.reporters.REPORTERS.get(name).render(REPORT)",
    ],
    ids=["package", "registries", "claims", "reports without figures"],
)
def test_nothing_heavy_is_imported_before_it_is_needed(code: str) -> None:
    assert run(code) == set()


def test_the_public_names_resolve() -> None:
    assert sorted(edgebudget.__all__) == dir(edgebudget)
    for name in edgebudget.__all__:
        assert getattr(edgebudget, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgebudget.nothing
