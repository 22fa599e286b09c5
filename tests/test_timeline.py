"""Timelines for other viewers: what they need is there, and it adds up to the layout's own."""

import io
import json
import pickle
import pickletools
from pathlib import Path

import pytest
import torch

from edgebudget.cli import main
from edgebudget.estimation import estimate
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import LiveTensor, MemoryLayout
from edgebudget.timeline import TIMELINES
from edgebudget.timeline.trace import STEP_US
from tests.test_plugins import GRAPHS

# The opcodes that the unpickler of torch/utils/viz/MemoryViz.js knows.
MEMORY_VIZ_OPCODES = frozenset(
    """APPENDS BINGET BININT BININT1 BININT2 EMPTY_DICT EMPTY_LIST FRAME LONG1 LONG_BINGET MARK MEMOIZE PROTO SETITEMS
    SHORT_BINUNICODE STOP TUPLE2 APPEND NEWFALSE BINPUT BINUNICODE EMPTY_TUPLE NEWTRUE NONE BINFLOAT TUPLE TUPLE1
    TUPLE3 LONG_BINPUT LIST DICT SETITEM""".split()
)


@pytest.fixture(params=[(graph, runtime) for graph in ("convnet", "residual") for runtime in RUNTIMES.names()])
def layout(request: pytest.FixtureRequest) -> MemoryLayout:
    graph, runtime = request.param
    made = estimate(GRAPHS[graph], dtype="float32", runtime=runtime).layout
    assert isinstance(made, MemoryLayout)
    return made


def test_the_trace_has_every_operator_and_tensor(layout: MemoryLayout) -> None:
    document = json.loads(TIMELINES.get("trace").render({"one": layout, "two": layout}))
    events = document["traceEvents"]
    assert all(isinstance(event["pid"], int) and event["ph"] in "MXCbe" for event in events)
    assert all("ts" in event for event in events if event["ph"] != "M")
    mine = [event for event in events if event["pid"] == 2]
    operators = [event for event in mine if event["ph"] == "X"]
    assert [(e["name"], e["args"]["alive_bytes"]) for e in operators] == list(layout.timeline)
    assert [e["ts"] for e in operators] == [STEP_US * i for i in range(len(layout.timeline))]
    counted = [event["args"]["bytes"] for event in mine if event["ph"] == "C"]
    assert counted == [*(nbytes for _, nbytes in layout.timeline), 0]
    begun = {event["id"]: event for event in mine if event["ph"] == "b"}
    ended = {event["id"]: event for event in mine if event["ph"] == "e"}
    assert len(begun) == len(ended) == len(layout.tensors)
    assert all(begun[key]["ts"] < ended[key]["ts"] for key in begun)


def test_the_snapshot_allocates_and_frees_what_is_alive(layout: MemoryLayout) -> None:
    document = pickle.loads(TIMELINES.get("snapshot").render({"one": layout, "two": layout}))
    assert set(document) == {"segments", "device_traces"}
    assert [segment["device"] for segment in document["segments"]] == [0, 1]
    for segment, trace in zip(document["segments"], document["device_traces"], strict=True):
        alive: dict[int, int] = {}
        most = 0
        for entry in trace:
            start, size = entry["addr"], entry["size"]
            assert segment["address"] <= start
            assert start + size <= segment["address"] + segment["total_size"]
            if entry["action"] == "alloc":
                assert all(start >= at + n or at >= start + size for at, n in alive.items()), "overlap"
                alive[start] = size
                most = max(most, sum(alive.values()))
            elif entry["action"] == "free_completed":
                assert alive.pop(start) == size
        assert alive == {}
        steps = range(len(layout.timeline))
        assert most == max(sum(t.nbytes for t in layout.tensors if t.first <= at <= t.last) for at in steps)
        assert sum(block["size"] for block in segment["blocks"]) == segment["total_size"]


def test_the_snapshot_is_what_the_viewers_read(layout: MemoryLayout) -> None:
    from torch.cuda import _memory_viz

    data = TIMELINES.get("snapshot").render({"one": layout})
    assert {opcode.name for opcode, _, _ in pickletools.genops(data)} <= MEMORY_VIZ_OPCODES
    document = pickle.load(io.BytesIO(data))
    assert "MEM[" in _memory_viz.trace(document)
    assert "Summary of segments" in _memory_viz.segsum(document)
    assert "<script" in _memory_viz.trace_plot(document, torch.device("cuda:0"))


def test_the_command_writes_a_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["timeline", "squeezenet1_1", "--device", "raspberrypi", "--dtype", "float32,int8"]
    assert main([*arguments, "--out", str(tmp_path / "a.json")]) == 0
    names = {e["args"]["name"] for e in json.loads((tmp_path / "a.json").read_text())["traceEvents"] if e["ph"] == "M"}
    assert "squeezenet1_1 on raspberrypi, executorch-xnnpack, int8" in names
    assert main([*arguments, "--format", "snapshot", "--out", str(tmp_path / "a.pickle"), "-q"]) == 0
    assert len(pickle.loads((tmp_path / "a.pickle").read_bytes())["device_traces"]) == 2
    assert capfd.readouterr().out == f"{tmp_path / 'a.json'}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["squeezenet1_1", "--device", "raspberrypi", "--format", "svg"], "Unknown format 'svg'"),
        (["nothing_of_that_name", "--device", "raspberrypi"], "Unknown model"),
        (["squeezenet1_1"], "No device was named"),
        (["squeezenet1_1", "--device", "raspberrypi", "--runtime", "tflite-micro", "--dtype", "float16"], "No option"),
    ],
)
def test_wrong_usage_writes_nothing(
    arguments: list[str], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["timeline", *arguments, "--out", str(tmp_path / "x"), "-q"]) == 2
    assert said in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_odd_names_stay_text() -> None:
    layout = estimate(GRAPHS["convnet"], dtype="float32", runtime="pytorch").layout
    assert isinstance(layout, MemoryLayout)
    from dataclasses import replace

    odd = replace(layout, tensors=(LiveTensor("a: <script>\n\x00🤖", 4, 0, 0),))
    text = TIMELINES.get("trace").render({"🤖": odd})
    assert text.isascii()
    assert json.loads(text)["traceEvents"][-1]["name"] == "a: <script>\n\x00🤖"
