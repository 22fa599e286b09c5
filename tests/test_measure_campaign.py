"""Real measurements: each backend on a small model, resuming, failing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgebudget.errors import CalibrationError, MissingExtraError
from edgebudget.measure import BACKENDS
from edgebudget.measure.campaign import failures_path, measure, measure_to_file, recorded
from edgebudget.measure.interface import (
    Failure,
    HeapCount,
    Measurement,
    Observation,
    Phase,
    Phases,
    ProcessCount,
    ProcessPeaks,
    Subject,
)
from edgebudget.measure.records import parse_failures, parse_measurements
from edgebudget.measure.repeats import further_names, joined
from edgebudget.measure.this_machine import ThisMachine

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).parents[1]
KEYWORD = ("edgebudget.measure.zoo:keyword_cnn", ("1x1x49x10:float32",))
CONVOLUTIONS, LINEAR = 21_248, 768
"""Weights of KEYWORD, in elements: nine convolutions that a relu alone reads, and a linear layer over 2 dimensions."""
_ALL_FLOAT = 4 * (CONVOLUTIONS + LINEAR)
_ALL_INT8 = CONVOLUTIONS + LINEAR
_LINEAR_INT8 = 4 * CONVOLUTIONS + LINEAR
STORED_BYTES = {
    ("executorch", "float32"): _ALL_FLOAT,
    ("executorch-xnnpack", "float32"): _ALL_FLOAT,
    ("executorch-xnnpack", "int8"): _ALL_INT8,
    (
        "executorch-xnnpack",
        "int8-dynamic",
    ): _LINEAR_INT8,  # a convolution that a relu alone reads is fused with it first
    ("executorch-xnnpack", "int4-weight-only"): 4 * CONVOLUTIONS + LINEAR // 2,
    ("onnxruntime", "float32"): _ALL_FLOAT,
    ("onnxruntime", "int8"): _ALL_INT8,
    ("onnxruntime", "int8-dynamic"): _ALL_INT8,
    ("onnxruntime", "int8-weight-only"): _ALL_FLOAT,  # only matrix products over 3 dimensions: here is none
    ("onnxruntime", "int4-weight-only"): _ALL_FLOAT,
    ("pytorch-cpu", "float32"): _ALL_FLOAT,
    ("pytorch-cpu", "int8-dynamic"): _LINEAR_INT8,
    ("pytorch-cpu", "int8-weight-only"): _LINEAR_INT8,
    ("pytorch-cpu", "int4-weight-only"): _LINEAR_INT8,  # a byte each: a CPU has no packed form
}
"""What each option holds of those weights: what it does not cover stays float32."""
CHAIN = """
import torch

class Chain(torch.nn.Module):
    def forward(self, x):
        y = x + 1          # 1 alive
        z = y * 2          # 2
        del y              # 1
        return torch.cat([z, z, z])  # 1 + 3

def make():
    return Chain()
"""


@pytest.mark.parametrize("name", BACKENDS.names())
def test_every_backend_keeps_the_contract(name: str) -> None:
    backend = BACKENDS.get(name)
    assert backend.name == name
    assert backend.dtypes[0] == "float32"
    assert backend.runs >= 2
    assert "torch" in backend.packages
    assert set(backend.runs_on) <= {*backend.packages, "numpy"}


def test_the_processes_of_one_measurement_know_the_file_by_names_of_different_lengths() -> None:
    names = further_names(BACKENDS.get("onnxruntime"), ".onnx")
    assert [len(name) for name in names] == [25, 45, 65, 85]
    assert {name[-5:] for name in names} == {".onnx"}
    assert further_names(BACKENDS.get("executorch-xnnpack"), ".pte") == ()


def test_several_processes_are_one_observation_with_the_heap_of_the_first() -> None:
    seen = []
    for number in range(1, 4):
        counted = HeapCount(number, number, number, 0, 0)
        before = Phase(counted, ProcessCount(10 * number, 10, 0))
        seen.append(Observation(Phases(before, Phase(counted, ProcessCount(10 + number, 0, 0)), before, before)))
    one = joined(seen)
    assert one.phases == seen[0].phases
    assert one.process_peaks == (ProcessPeaks(1, 0), ProcessPeaks(2, 10), ProcessPeaks(3, 20))


def test_what_starts_the_workers_stays_free_of_torch() -> None:
    code = (
        "import sys\nfrom edgebudget.measure import BACKENDS, campaign, suite\nassert len(list(BACKENDS)) >= 4\n"
        "print(*sorted({'torch', 'executorch', 'onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (result.stdout.strip(), result.returncode) == ("", 0), result.stderr


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("executorch", "executorch", "executorch"),
        ("executorch-xnnpack", "executorch", "executorch"),
        ("onnxruntime", "onnxruntime", "onnxruntime"),
        ("onnxruntime", "onnxscript", "onnxruntime"),
    ],
)
def test_a_missing_package_names_its_extra(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]  # how Python says: not importable
    with pytest.raises(MissingExtraError, match=rf"'{name}' needs the package '{package}'.*edgebudget\[{extra}\]"):
        list(measure([Subject(*KEYWORD, name, "float32")], ThisMachine()))


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "chain.py"
    path.write_text(CHAIN)
    return f"{path}:make"


def test_the_allocator_of_pytorch_to_the_byte_and_resuming(chain: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    numel = 100_000
    good = Subject(chain, (f"{numel}:float32",), "pytorch-cpu", "float32")
    bad = Subject("no_such_model", ("1:float32",), "pytorch-cpu", "float32")
    told: list[Measurement | Failure] = []
    with ThisMachine() as place:
        measure_to_file([good, bad, good], place, out, told.append)
    assert [result.subject for result in told] == [good, bad]

    (measurement,) = parse_measurements(out.read_text())
    assert measurement == told[0]
    allocator = measurement.observation.allocator
    assert allocator is not None
    assert {allocator.first_peak_bytes, allocator.peak_bytes, allocator.peak_without_onednn_bytes} == {16 * numel}
    assert 16 * numel <= measurement.inference_heap_bytes < 16 * numel + 2**20
    (failure,) = parse_failures(failures_path(out).read_text())
    assert "no_such_model" in failure.reason

    # Taken up again: what is there is not measured again, what a kill cut off is.
    before = out.read_text()
    out.write_text(before + before[: len(before) // 2])
    told.clear()
    with ThisMachine() as place:
        measure_to_file([good, bad], place, out, told.append)
    assert told == []
    assert out.read_text() == before


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("dear diary\n")
    with pytest.raises(CalibrationError, match=r"notes\.jsonl:1: not JSON"):
        recorded(path, None)
    assert path.read_text() == "dear diary\n"


@pytest.mark.slow
def test_a_crash_fails_one_and_the_rest_go_on(tmp_path: Path) -> None:
    path = tmp_path / "models.py"
    path.write_text("import os, torch\ndef crash():\n    os._exit(7)\ndef fine():\n    return torch.nn.Identity()\n")
    subjects = [Subject(f"{path}:{name}", ("4:float32",), "pytorch-cpu", "float32") for name in ("crash", "fine")]
    with ThisMachine() as place:
        crashed, fine = measure(subjects, place)
    assert isinstance(crashed, Failure)
    assert "ended with 7" in crashed.reason
    assert isinstance(fine, Measurement)


@pytest.mark.slow
def test_killed_and_taken_up_again_each_is_there_once(chain: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    shapes = ("1000:float32", "2000:float32", "3000:float32")
    subjects = [Subject(chain, (shape,), "pytorch-cpu", "float32") for shape in shapes]
    code = (
        "from pathlib import Path\nfrom edgebudget.measure.campaign import measure_to_file\n"
        "from edgebudget.measure.interface import Subject\n"
        "from edgebudget.measure.this_machine import ThisMachine\n"
        "with ThisMachine() as place:\n"
        f"    measure_to_file({subjects!r}, place, Path({str(out)!r}), lambda result: None)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (out.exists() and out.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(recorded(out, None)) >= 1
    with ThisMachine() as place:
        measure_to_file(subjects, place, out, lambda result: None)
    assert [measurement.subject for measurement in parse_measurements(out.read_text())] == subjects


@pytest.fixture(scope="module")
def keyword() -> dict[tuple[str, str], Measurement]:
    pytest.importorskip("executorch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    subjects = [Subject(*KEYWORD, name, dtype) for name, backend in BACKENDS for dtype in backend.dtypes]
    with ThisMachine() as place:
        results = list(measure(subjects, place))
    assert [result for result in results if isinstance(result, Failure)] == []
    return {
        (result.subject.backend, result.subject.dtype): result for result in results if isinstance(result, Measurement)
    }


@pytest.mark.slow
def test_every_backend_measures_a_small_model(keyword: dict[tuple[str, str], Measurement]) -> None:
    assert len(keyword) == sum(len(backend.dtypes) for _, backend in BACKENDS)
    assert set(keyword) == set(STORED_BYTES)
    for key, measurement in keyword.items():
        phases = measurement.observation.phases
        for phase in (phases.load, phases.first_inference, phases.steady_inference):
            assert phase.heap.peak_bytes >= phase.heap.live_bytes > 0
            assert phase.process.peak_bytes >= phase.process.resident_bytes > 0
        assert measurement.parameter_numel == 23_180
        assert measurement.provenance.threads == 1
        assert len(measurement.observation.process_peaks) == BACKENDS.get(key[0]).processes
        if key[0] != "executorch":  # whose weights stay in the mapped file
            assert measurement.load_heap_bytes > STORED_BYTES[key]
    portable = keyword["executorch", "float32"].artefact
    delegated = keyword["executorch-xnnpack", "float32"].artefact
    assert portable.delegate_count == 0
    assert portable.outside_ops is not None
    assert portable.outside_ops["aten::convolution.out"] == 9
    assert delegated.delegate_count == 1
    # Input and output, on 16 bytes each: all that ExecuTorch plans when XNNPACK takes the rest.
    assert delegated.planned_bytes == (4 * 490 + 8 + 48 + 64,)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "dtype"), [key for key in STORED_BYTES if key != ("pytorch-cpu", "float32")])
def test_a_file_is_smaller_by_what_its_option_quantizes(
    keyword: dict[tuple[str, str], Measurement], backend: str, dtype: str
) -> None:
    nbytes = keyword[backend, dtype].artefact.nbytes
    assert nbytes is not None
    assert STORED_BYTES[backend, dtype] < nbytes < STORED_BYTES[backend, dtype] + 40_000
    if backend != "pytorch-cpu":
        whole_bytes = keyword[backend, "float32"].artefact.nbytes
        assert whole_bytes is not None
        saved_bytes = STORED_BYTES[backend, "float32"] - STORED_BYTES[backend, dtype]
        # Scales, zero points and the operators that apply them take a quarter of it at the most.
        assert whole_bytes - nbytes == pytest.approx(saved_bytes, rel=0.25, abs=64)


@pytest.mark.slow
def test_eager_pytorch_writes_no_file_of_what_it_does_not_quantize(
    keyword: dict[tuple[str, str], Measurement],
) -> None:
    assert keyword["pytorch-cpu", "float32"].artefact.nbytes is None
    one_byte, half_a_byte = (keyword["pytorch-cpu", f"int{bits}-weight-only"].artefact.nbytes for bits in (8, 4))
    assert one_byte == half_a_byte, "a CPU has no packed form of 4 bits"


@pytest.mark.slow
def test_the_heap_of_a_runner_repeats_to_the_byte(keyword: dict[tuple[str, str], Measurement]) -> None:
    subject = keyword["executorch", "float32"].subject
    with ThisMachine() as place:
        (again,) = measure([subject], place)
    assert isinstance(again, Measurement)
    before, after = keyword["executorch", "float32"].observation.phases, again.observation.phases
    assert [p.heap for p in (before.baseline, before.load, before.first_inference, before.steady_inference)] == [
        p.heap for p in (after.baseline, after.load, after.first_inference, after.steady_inference)
    ]
