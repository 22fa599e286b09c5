"""Measuring on a GPU, all but the GPU: a stand-in on the CPU for the device, a script for the process that uses it."""

import gc
import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgebudget.cli import main as edgebudget
from edgebudget.errors import CalibrationError, MeasurementError
from edgebudget.measure.cuda import __main__ as command_line
from edgebudget.measure.cuda import campaign, device, worker
from edgebudget.measure.cuda.campaign import Skipped, failures_path, measure_to_file
from edgebudget.measure.cuda.device import CudaDevice, held_at_peak
from edgebudget.measure.cuda.one import Models, measure_one
from edgebudget.measure.cuda.records import (
    CacheCount,
    CudaMeasurement,
    CudaProvenance,
    Libraries,
    is_cuda,
    parse_cuda,
    parse_line,
    to_json_line,
)
from edgebudget.measure.cuda.suite import DTYPES, sizes, subjects
from edgebudget.measure.interface import Failure, Subject
from edgebudget.measure.suite import SUITE

ROOT = Path(__file__).parents[1]
KEYWORD = "edgebudget.measure.zoo:keyword_cnn"
LIBRARIES = Libraries(None, 1, 2, 3, 4, 5, 6, 7, 8)
WHERE = CudaProvenance("2026-01-02T03:04:05Z", "no GPU, a stand-in", "0.0", 1, "none", {"torch": "0"}, {}, 3, 0)


class StandIn:
    """A device on the CPU whose allocator counts the steps it is asked about: a test sees what was read when."""

    place = torch.device("cpu")
    libraries = LIBRARIES

    def __init__(self, leaks: tuple[int, ...] = ()) -> None:
        self.said: list[str] = []
        self._leaks = list(leaks)
        self._held = 100

    def seed(self) -> torch.Generator:
        self.said.append("seed")
        return torch.Generator().manual_seed(0)

    def count(self) -> CacheCount:
        self.said.append("count")
        return CacheCount(*[self._held] * 3, *[len(self.said) * 1000] * 3)

    def reset_peaks(self) -> None:
        self.said.append("reset")

    def empty_cache(self) -> None:
        self.said.append("empty")

    def at_peak(self, run: Callable[[], object]) -> tuple[int, ...] | None:
        run()
        self._held += self._leaks.pop(0) if self._leaks else 0
        return (2, 1)

    def outside_bytes(self) -> int:
        return 7

    def provenance(self, already_measured: int) -> CudaProvenance:
        return replace(WHERE, already_measured=already_measured)


def subject(dtype: str = "float32", batch: int = 1, model: str = KEYWORD) -> Subject:
    return Subject(model, (f"{batch}x1x49x10:float32",), "cuda", dtype)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_each_phase_has_peaks_of_its_own(dtype: str) -> None:
    stand_in = StandIn()
    measured = measure_one(stand_in, Models(), subject(dtype), already_measured=4)
    assert stand_in.said == [
        *["empty", "count"],  # nothing of an earlier model is there
        *["reset", "count", "count"],  # baseline, load
        *["seed", "reset", "count", "count"],  # inputs, first run
        *["reset", "count"],  # later runs
        *["empty", "count"],  # nothing of this one is left
    ]
    assert measured.phases.baseline.allocated_peak_bytes < measured.phases.load.allocated_peak_bytes
    assert measured.provenance.already_measured == 4
    assert (measured.at_peak_bytes, measured.outside_bytes) == ((2, 1), 7)
    assert measured.parameter_numel > 20_000


def test_memory_that_a_library_keeps_at_its_first_call_is_not_a_models() -> None:
    assert measure_one(StandIn(leaks=(512,)), Models(), subject(), 0).phases.baseline.allocated_bytes == 612
    with pytest.raises(MeasurementError, match="leaves 512 bytes on the device"):
        measure_one(StandIn(leaks=(512, 512)), Models(), subject(), 0)


def test_one_model_is_built_once_for_all_of_its_dtypes_and_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgebudget.measure.cuda import one

    built = []
    monkeypatch.setattr(one, "build_module", lambda model, _: built.append(model) or torch.nn.Linear(10, 4))
    models = Models()
    for dtype in ("float32", "float16", "bfloat16", "float32"):
        module = models.module(replace(subject(dtype), inputs=("1x10:float32",)))
        assert module.weight.dtype is getattr(torch, dtype)
    assert built == [KEYWORD]


def test_weights_in_int8_by_torchao() -> None:
    pytest.importorskip("torchao")
    module = Models().module(subject("int8-weight-only"))
    assert [type(p).__name__ for n, p in module.named_parameters() if n.endswith("weight")][-1] != "Parameter"
    assert measure_one(StandIn(), Models(), subject("int8-weight-only"), 0).subject.dtype == "int8-weight-only"


def test_the_worker_answers_every_request_with_a_line() -> None:
    asked = [subject(), subject("float16", batch=2), subject(model="nosuch_model"), replace(subject(), inputs=("1x2",))]
    requests = io.StringIO("".join(json.dumps(asdict(s)) + "\n" for s in asked))
    answers = io.StringIO()
    worker.main(StandIn(), requests, answers)
    hello, *lines = answers.getvalue().splitlines()
    assert json.loads(hello) == {"gpu": WHERE.gpu}
    assert [m.subject for m in parse_cuda("\n".join(lines[:2]), "x")] == asked[:2]
    assert [m.provenance.already_measured for m in map(parse_line, lines[:2])] == [0, 1]
    assert "nosuch_model" in json.loads(lines[2])["reason"]
    assert json.loads(lines[3])["reason"].startswith("RuntimeError: ")


@pytest.mark.parametrize(
    ("error", "said", "goes_on"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), "Out of memory on the GPU", True),
        (RuntimeError("CUDA error: device-side assert triggered"), "device-side assert", False),
        (RuntimeError("expected scalar type Half but found Float"), "RuntimeError: expected scalar type Half", True),
    ],
)
def test_one_model_that_fails_stops_no_other_unless_the_gpu_is_broken(
    error: Exception, said: str, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_once(device: object, models: object, what: Subject, count: int) -> CudaMeasurement:
        if what.dtype == "float32":
            raise error
        return sample(what)

    monkeypatch.setattr(worker, "measure_one", fails_once)
    asked = [subject(), subject("float16")]
    requests = io.StringIO("".join(json.dumps(asdict(s)) + "\n" for s in asked))
    answers = io.StringIO()
    worker.main(StandIn(), requests, answers)
    first, *rest = answers.getvalue().splitlines()[1:]
    assert said in json.loads(first)["reason"]
    assert ("ends" not in json.loads(first)) is goes_on
    assert len(rest) == goes_on


def sample(what: Subject) -> CudaMeasurement:
    return measure_one(StandIn(), Models(), what, 0)


def test_a_line_comes_back_as_it_was_and_fits_the_schema() -> None:
    measured = sample(subject())
    line = to_json_line(measured)
    assert is_cuda(line)
    assert not is_cuda('{"backend": "onnxruntime"}')
    assert parse_cuda(f"{line}\n\n{line}\n", "x") == (measured, measured) == (parse_line(line),) * 2
    assert parse_line(to_json_line(replace(measured, at_peak_bytes=None))).at_peak_bytes is None


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda r: r.pop("phases"), "x:1: the record: "),
        (lambda r: r.update(backend="cpu"), "x:1: backend: "),
        (lambda r: r["phases"]["load"].update(allocated_bytes=-1), r"x:1: phases\.load\.allocated_bytes: "),
        (lambda r: r["libraries"].update(cudnn_code_bytes=1.5), r"x:1: libraries\.cudnn_code_bytes: "),
    ],
)
def test_a_line_that_does_not_fit_is_named(change: Callable[[dict], object], place: str) -> None:
    record = json.loads(to_json_line(sample(subject())))
    change(record)
    with pytest.raises(CalibrationError, match=place):
        parse_cuda(json.dumps(record), "x")


def test_what_a_peak_is_made_of() -> None:
    events = [
        ("alloc", 1, 10), ("alloc", 2, 20), ("free_requested", 1, 10), ("free_completed", 1, 10),
        ("segment_alloc", 9, 99), ("alloc", 1, 25), ("free_requested", 77, 5),
        ("free_requested", 2, 20), ("alloc", 3, 15),
    ]  # fmt: skip
    assert held_at_peak(events) == (25, 20)
    assert held_at_peak([]) == ()


# The process that uses the GPU, replaced by a script.

SCRIPT = """
import json, os, sys, time
line = json.loads(sys.argv[1])
print(json.dumps({"gpu": "none"}), flush=True)
for request in sys.stdin:
    request = json.loads(request)
    how = request["inputs"][0].split("x")[0]
    if how == "7":
        print("Segmentation fault", file=sys.stderr)
        os._exit(11)
    if how == "8":
        time.sleep(60)
    if how == "9":
        print(json.dumps({"reason": "CUDA error: gone", "ends": "yes"}), flush=True)
        time.sleep(60)
    print(json.dumps({**line, **request}), flush=True)
"""


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    line = to_json_line(sample(subject()))
    monkeypatch.setattr(campaign, "_command", lambda device: [sys.executable, str(script), line])
    return tmp_path / "cuda.jsonl"


def test_a_run_that_was_killed_goes_on_where_it_stopped(scripted: Path) -> None:
    asked = [subject(dtype, batch) for dtype in ("float32", "float16") for batch in (1, 2)]
    seen: list[Subject] = []
    assert measure_to_file(asked[:2], "cuda", scripted, lambda r: seen.append(r.subject)) == 0
    whole = scripted.read_text()
    scripted.write_text(whole + whole.splitlines()[0][:100])  # killed while it wrote
    assert measure_to_file(asked, "cuda", scripted, lambda r: seen.append(r.subject)) == 0
    assert seen == asked
    assert [m.subject for m in parse_cuda(scripted.read_text(), "x")] == asked
    assert measure_to_file(asked, "cuda", scripted, lambda r: seen.append(r.subject)) == 0
    assert seen == asked


def test_a_process_that_dies_or_is_broken_fails_one_model_only(scripted: Path) -> None:
    asked = [subject(batch=batch) for batch in (7, 1, 9, 2)]
    results: list[campaign.Result] = []
    assert measure_to_file(asked, "cuda", scripted, results.append) == 0
    assert [type(result) for result in results] == [Failure, CudaMeasurement, Failure, CudaMeasurement]
    assert "Segmentation fault" in results[0].reason
    failed = [json.loads(line) for line in failures_path(scripted).read_text().splitlines()]
    assert [f["reason"] for f in failed] == ["The process ended: Segmentation fault", "CUDA error: gone"]
    assert measure_to_file(asked, "cuda", scripted, results.append) == 0
    assert len(results) == 4


def test_a_model_that_hangs_is_given_up(scripted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "MODEL_SECONDS", 0.5)
    results: list[campaign.Result] = []
    assert measure_to_file([subject(batch=8), subject()], "cuda", scripted, results.append) == 0
    assert "more than 0 s" in results[0].reason
    assert isinstance(results[1], CudaMeasurement)


def test_when_the_time_is_up_what_is_under_way_is_left_for_the_next_time(scripted: Path) -> None:
    results: list[campaign.Result] = []
    asked = [subject(), subject(batch=8), subject(batch=2)]
    assert measure_to_file(asked, "cuda", scripted, results.append, seconds=4) == 2
    assert [result.subject for result in results] == asked[:1]
    assert not failures_path(scripted).exists()


def test_what_needs_a_missing_package_is_skipped_and_tried_again(
    scripted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "find_spec", lambda package: None)
    results: list[campaign.Result] = []
    asked = [subject("int8-weight-only"), subject(model="timm:lcnet_050"), subject()]
    assert measure_to_file(asked, "cuda", scripted, results.append) == 0
    assert [type(result) for result in results] == [Skipped, Skipped, CudaMeasurement]
    assert "torchao" in results[0].reason
    assert not failures_path(scripted).exists()


def test_a_file_of_something_else_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"model": 1}\n')
    with pytest.raises(CalibrationError, match=r"x\.jsonl:1: not a measurement of a GPU"):
        measure_to_file([subject()], "cuda", path, lambda result: None)
    assert path.read_text() == '{"model": 1}\n'


# The suite, and the two ways to ask.


def test_the_suite_is_large_enough_and_smallest_first() -> None:
    asked = subjects()
    assert len(set(asked)) == len(asked)
    floats = [s for s in asked if s.dtype == "float32"]
    assert len({s.model for s in floats}) >= 60
    assert len(floats) == 3 * len({s.model for s in floats})
    assert {s.dtype for s in asked} == set(DTYPES)
    for entry in SUITE:
        assert len(set(sizes(entry))) == 3
        assert entry.inputs in sizes(entry)


@pytest.mark.slow
@pytest.mark.parametrize("entry", SUITE, ids=lambda entry: entry.model)
def test_every_model_of_the_suite_takes_its_three_sizes(entry) -> None:
    from edgebudget.inputs import parse_input
    from edgebudget.sources import load_model
    from edgebudget.tracing import trace

    for inputs in sizes(entry):
        loaded = load_model(entry.model, [parse_input(text) for text in inputs])
        assert trace(loaded.module, loaded.args, loaded.kwargs, name=entry.model).ops


FORBIDDEN = ("jsonschema", "yaml", "typer", "rich", "jinja2", "plotly", "pandas", "scipy", "torchao", "timm")


ALONE = f"""
import io, json, sys

from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name.split(".")[0] in {FORBIDDEN!r} else find(name, *rest)
import torch
from edgebudget.measure.cuda import __main__, worker
from edgebudget.measure.cuda.records import CacheCount, CudaProvenance, Libraries

class Device:
    place = torch.device("cpu")
    libraries = Libraries(None, *[0] * 8)
    def seed(self): return torch.Generator()
    def count(self): return CacheCount(*[0] * 6)
    def reset_peaks(self): pass
    def empty_cache(self): pass
    def at_peak(self, run): run()
    def outside_bytes(self): return 0
    def provenance(self, measured): return CudaProvenance("", "", "", 0, "", {{}}, {{}}, 3, measured)

worker.main(Device(), sys.stdin, sys.stdout)
"""


def test_it_runs_with_torch_and_torchvision_alone() -> None:
    asked = [
        ("mobilenet_v3_small", "1x3x64x64:float32"),
        ("edgebudget.measure.zoo:lstm_cells", "1x16x64:float32"),
        ("edgebudget.measure.zoo:text_classifier", "2x64:int64"),
    ]
    lines = [json.dumps({"model": model, "inputs": [text], "dtype": "float32"}) + "\n" for model, text in asked]
    command = [sys.executable, "-c", ALONE]
    done = subprocess.run(command, input="".join(lines), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert [parse_line(line).subject.model for line in done.stdout.splitlines()[1:]] == [model for model, _ in asked]


no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@no_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_without_a_gpu_one_sentence_says_so(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cuda.jsonl"
    assert command_line.main(["--suite", "--out", str(out), "--device", name]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert "torch" in said.err
    assert "GPU" in said.err
    assert not out.exists()
    assert edgebudget(["measure", "mobilenet_v2", "--backend", name, "--dtype", "float32"]) == 2
    assert "GPU" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["cpu", "cuda:x", "meta"])
def test_what_is_no_cuda_device_is_refused(name: str) -> None:
    with pytest.raises(MeasurementError, match=r"is not a CUDA device|built without CUDA"):
        device._find(name)


# The GPU itself, with the calls of torch.cuda answered on the CPU: that they exist, and what is made of the answers.


def test_the_interface_of_the_allocator_is_as_it_is_called() -> None:
    memory = torch.cuda.memory
    inspect.signature(memory._record_memory_history).bind("all", context=None, max_entries=1)
    inspect.signature(memory._record_memory_history).bind(None)
    inspect.signature(memory._snapshot).bind()
    for name in ("memory_stats", "reset_peak_memory_stats", "memory_reserved", "memory_allocated", "mem_get_info"):
        inspect.signature(getattr(torch.cuda, name)).bind(torch.device("cuda", 0))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """`torch.cuda` and nvidia-smi with made-up answers; returns the state that they tell, to be changed."""
    state = {"outside": 500, "used": 300, "held": 0}
    total = 10_000
    properties = SimpleNamespace(name="a GPU", major=9, minor=0, total_memory=total, uuid="abc")
    trace = [[{"action": "alloc", "addr": 1, "size": 5}]]

    def stats(_: object) -> dict[str, int]:
        whats = ("requested", "allocated", "reserved")
        return {f"{what}_bytes.all.{when}": state["held"] for what in whats for when in ("current", "peak")}

    answers: dict[str, object] = {
        "set_device": lambda d: None, "init": lambda: None, "synchronize": lambda d: None,
        "empty_cache": lambda: None, "manual_seed": lambda seed: None, "memory_stats": stats,
        "get_device_properties": lambda d: properties, "reset_peak_memory_stats": lambda d: None,
        "memory_allocated": lambda d: state["held"], "memory_reserved": lambda d: state["held"],
        "mem_get_info": lambda d: (total - state["outside"] - state["held"], total),
    }  # fmt: skip
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.cuda.memory, "_record_memory_history", lambda *a, **k: None)
    monkeypatch.setattr(torch.cuda.memory, "_snapshot", lambda: {"device_traces": [list(t) for t in trace]})
    monkeypatch.setattr(device, "_find", lambda name: torch.device("cpu", 0))

    def nvidia_smi(*fields: str) -> list[list[str]]:
        state["used"] += 400
        row = {"uuid": "GPU-abc", "memory.used": str(state["used"]), "driver_version": "1.2"}
        return [[row[field] for field in fields]]

    monkeypatch.setattr(device, "_ask_nvidia_smi", nvidia_smi)
    yield state
    gc.unfreeze()  # a worker's whole process is its own, a test's is not


def test_a_gpu_from_its_first_call_to_a_measurement(pretended: dict[str, int]) -> None:
    gpu = CudaDevice("cuda")
    assert gpu.libraries.context_bytes == 400 * 2**20
    assert gpu.libraries.cublas_code_bytes == gpu.libraries.cudnn_workspace_bytes == 0
    assert 0 < gpu.libraries.host_import_bytes <= gpu.libraries.host_ready_bytes
    measured = measure_one(gpu, Models(), subject(), 1)
    assert parse_cuda(to_json_line(measured), "x") == (measured,)
    assert (measured.outside_bytes, measured.at_peak_bytes) == (500, ())
    where = measured.provenance
    assert (where.gpu, where.compute_capability, where.driver, where.already_measured) == ("a GPU", "9.0", "1.2", 1)
    assert {"torch", "cuda", "cudnn", "python"} <= set(where.versions)
    assert {"cudnn.benchmark", "matmul.allow_tf32"} <= set(where.settings)


def test_without_the_allocators_history_the_peak_is_measured_all_the_same(
    pretended: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = CudaDevice("cuda")
    monkeypatch.delattr(torch.cuda.memory, "_record_memory_history")
    assert measure_one(gpu, Models(), subject(), 0).at_peak_bytes is None


def test_only_the_growth_of_the_same_gpu_is_its_context() -> None:
    assert device._growth({"a": 5, "b": 7}, {"a": 9, "b": 70}, "GPU-a") == 4
    assert device._growth({"a": 5}, {"a": 9}, "") == 4
    assert device._growth({}, {}, "a") is None
    assert device._growth({"a": 5, "b": 7}, {"a": 9}, "c") is None
