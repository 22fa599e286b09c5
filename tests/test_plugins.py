"""The contract of every registered plug-in, whatever files there are."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import nn

from edgebudget.dtypes import DTYPES
from edgebudget.errors import UnknownNameError
from edgebudget.estimation import MemoryEstimate, estimate
from edgebudget.graph import ITEMSIZE, Role, TracedGraph
from edgebudget.inspection.formats import FORMATS
from edgebudget.measure import BACKENDS
from edgebudget.planning import verify_plan
from edgebudget.registry import Registry
from edgebudget.reporters import REPORTERS
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.sources import SOURCES
from edgebudget.target import GENERIC, Target
from edgebudget.timeline import TIMELINES
from edgebudget.tracing import trace
from tests.handmade import GO_RESULT, SHORT_RESULT, UNSUPPORTED_RESULT, report
from tests.traces import Forward

REGISTRIES: dict[str, Registry[object]] = {
    "dtypes": DTYPES,
    "runtimes": RUNTIMES,
    "sources": SOURCES,
    "reporters": REPORTERS,
    "measure.backends": BACKENDS,
    "inspection.formats": FORMATS,
    "timeline": TIMELINES,
}
ENTRIES = [(package, name) for package, registry in REGISTRIES.items() for name in registry.names()]
SIZES = [field.name for field in fields(MemoryLayout) if field.name.endswith(("_bytes", "_numel"))]


def convnet() -> TracedGraph:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU6(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )
    return trace(model, (torch.empty(1, 3, 32, 32, device="meta"),), name="convnet")


def attention() -> TracedGraph:
    encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.Sequential(nn.Embedding(20, 16), encoder, nn.Linear(16, 20))
    model[2].weight = model[0].weight
    return trace(model, (torch.empty(1, 12, dtype=torch.int64, device="meta"),), name="attention")


def residual() -> TracedGraph:
    model = Forward(lambda self, x: torch.cat([self.children_[0](x) + x, x.relu()], 1), nn.Conv2d(4, 4, 1))
    return trace(model, (torch.empty(1, 4, 8, 8, device="meta"),), name="residual")


def nothing() -> TracedGraph:
    return trace(nn.Identity(), (torch.empty(2, 3, device="meta"),), name="nothing")


GRAPHS = {graph.name: graph for graph in (convnet(), attention(), residual(), nothing())}
TARGETS = {
    "generic": GENERIC,
    "x86-64": Target(isa="x86-64"),
    "cortex-a72": Target(isa="armv8-a", cores=("cortex-a72",)),
    "32 bits": Target(isa="armv7-a", pointer_bits=32),
    "flash": Target(isa="armv7e-m", pointer_bits=32, cores=("cortex-m7",), weights_in="flash"),
}


def is_one_sentence(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Z0-9`][^\n]*[.]", text)) and len(text) < 400


def options() -> Iterator[tuple[str, str, str, str]]:
    for graph in GRAPHS:
        for runtime in RUNTIMES.names():
            for dtype in DTYPES.names():
                for target in TARGETS:
                    yield graph, runtime, dtype, target


# ---- every entry


@pytest.mark.parametrize(("package", "name"), ENTRIES)
def test_names_are_those_of_the_files(package: str, name: str) -> None:
    import edgebudget

    path = Path(edgebudget.__file__).parent / package.replace(".", "/") / f"{name.replace('-', '_')}.py"
    folder = path.with_suffix("")
    assert path.is_file() or folder.is_dir()
    entry = REGISTRIES[package].get(name)
    assert getattr(entry, "name", name) == name
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)


@pytest.mark.parametrize(("package", "name"), [entry for entry in ENTRIES if entry[0] in ("dtypes", "runtimes")])
def test_descriptions_are_sentences(package: str, name: str) -> None:
    assert is_one_sentence(REGISTRIES[package].get(name).description)


@pytest.mark.parametrize("package", REGISTRIES)
def test_registries_list_sorted_names_and_answer_unknown_ones(package: str) -> None:
    registry = REGISTRIES[package]
    assert registry.names() == sorted(registry.names())
    assert [name for name, _ in registry] == registry.names()
    first = registry.names()[0]
    with pytest.raises(UnknownNameError) as caught:
        registry.get(first + "x")
    assert first in caught.value.hint
    for odd in ("", "interface", "__init__", "../x", "_static"):
        with pytest.raises(UnknownNameError):
            registry.get(odd)


def test_a_new_file_is_a_new_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "plug_ins"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "interface.py").write_text("")
    (package / "_helper.py").write_text("raise RuntimeError('never imported')")
    (package / "two_words.py").write_text("OPTION = 2")
    (package / "one.py").write_text("OPTION = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry: Registry[int] = Registry("plug_ins", "OPTION", "thing")
    assert registry.names() == ["one", "two-words"]
    assert dict(registry) == {"one": 1, "two-words": 2}
    with pytest.raises(UnknownNameError, match=r"Unknown thing 'tow-words'\. Did you mean two-words\?"):
        registry.get("tow-words")


# ---- sources, reporters, dtypes


@pytest.mark.parametrize("name", SOURCES.names())
def test_sources_claim_their_own_example_and_no_other(name: str) -> None:
    source = SOURCES.get(name)
    assert [other for other, kind in SOURCES if kind.claims(source.example)] == [name]
    assert not source.claims("")


@pytest.mark.parametrize("name", REPORTERS.names())
def test_reporters_render_any_report(name: str) -> None:
    reporter = REPORTERS.get(name)
    for results in ((), (GO_RESULT,), (GO_RESULT, SHORT_RESULT, UNSUPPORTED_RESULT)):
        text = reporter.render(report(*results))
        assert text.endswith("\n")
        assert text == reporter.render(report(*results))
    assert reporter.suffix.startswith(".")


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("name", DTYPES.names())
def test_dtypes_hold_every_storage(name: str, graph: TracedGraph) -> None:
    option = DTYPES.get(name)
    made = option.assign(graph)
    assert made == option.assign(graph)  # pure
    assert made.option == name
    assert len(made.held) == len(graph.storages)
    assert made.covered <= set(range(len(graph.ops)))
    assert option.element_dtype in ITEMSIZE or option.element_dtype.startswith("int")
    for storage, held in zip(graph.storages, made.held, strict=True):
        assert held.nbytes >= 0
        assert held.quantization_nbytes >= 0
        assert held.total_nbytes == held.nbytes + held.quantization_nbytes
        assert type(held.nbytes) is int
        if storage.dtype in ("int64", "bool"):
            assert held == (storage.dtype, storage.nbytes, 0)
        if storage.role is Role.INPUT and name.startswith("int"):
            assert held.nbytes == storage.nbytes


# ---- runtimes: every one under every dtype on every target


@pytest.mark.parametrize(("graph", "runtime", "dtype", "target"), options())
def test_layouts_have_all_their_parts(graph: str, runtime: str, dtype: str, target: str) -> None:
    traced = GRAPHS[graph]
    made = estimate(traced, dtype=dtype, runtime=runtime, target=TARGETS[target])
    assert isinstance(made, MemoryEstimate)
    assert made.parameter_numel == traced.parameter_numel
    layout = made.layout
    if isinstance(layout, Unsupported):
        assert is_one_sentence(layout.reason)
        assert made.raw_peak_bytes == made.load_peak_bytes == made.inference_peak_bytes == 0
        return
    for name in SIZES:
        value = getattr(layout, name)
        assert type(value) is int, name
        assert value >= 0 or "kept" in name, name  # pages that are given out and not written to, code not run yet
    assert layout.activation_lower_bound_bytes <= layout.activation_bytes
    assert layout.activation_lower_bound_bytes <= layout.activation_total_bytes
    assert layout.inference_heap_bytes >= layout.activation_bytes
    assert made.inference_peak_bytes == sum(
        (layout.inference_heap_bytes, layout.inference_mapped_bytes, layout.runtime_bytes)
    )
    assert made.load_peak_bytes == layout.load_heap_bytes + layout.load_mapped_bytes + layout.runtime_bytes
    assert made.raw_peak_bytes == max(made.load_peak_bytes, made.inference_peak_bytes)
    assert min(layout.load_resident_bytes + layout.runtime_bytes, layout.inference_resident_bytes) >= 0
    assert all(isinstance(label, str) and nbytes >= 0 for label, nbytes in layout.timeline)
    assert all(tensor.nbytes >= 0 and 0 <= tensor.first <= tensor.last for tensor in layout.tensors)
    assert len(set(layout.unmodelled_ops)) == len(layout.unmodelled_ops)
    assert all(is_one_sentence(note) for note in layout.notes)
    if layout.arena is not None:
        verify_plan(layout.arena)
    if layout.timeline:
        assert layout.peak_op.index >= 0
        assert layout.peak_op.name


@pytest.mark.parametrize("runtime", RUNTIMES.names())
def test_estimates_are_pure_and_move_between_targets(runtime: str) -> None:
    graph = GRAPHS["convnet"]
    here = estimate(graph, dtype="float32", runtime=runtime)
    assert estimate(graph, dtype="float32", runtime=runtime) == here
    assert here.on(GENERIC) is here
    there = TARGETS["x86-64"]
    assert here.on(there) == estimate(graph, dtype="float32", runtime=runtime, target=there)


@pytest.mark.parametrize("runtime", RUNTIMES.names())
def test_the_smaller_type_is_no_larger(runtime: str) -> None:
    graph = GRAPHS["convnet"]
    made = {dtype: estimate(graph, dtype=dtype, runtime=runtime) for dtype in ("float32", "float16", "int8")}
    layouts = {d: m.layout for d, m in made.items() if isinstance(m.layout, MemoryLayout)}
    assert layouts
    sizes = [layouts[dtype].activation_lower_bound_bytes for dtype in ("float32", "float16") if dtype in layouts]
    assert sizes == sorted(sizes, reverse=True)
    assert made["int8"].parameter_bytes < made["float16"].parameter_bytes < made["float32"].parameter_bytes


def test_unknown_options_are_answered() -> None:
    with pytest.raises(UnknownNameError, match="Unknown dtype 'flot32'"):
        estimate(GRAPHS["nothing"], dtype="flot32", runtime="pytorch")
    with pytest.raises(UnknownNameError, match="Unknown runtime 'pytroch'"):
        estimate(GRAPHS["nothing"], dtype="float32", runtime="pytroch")
