"""What the README shows in Python, and the names that must not be shadowed by modules."""

import importlib
import pkgutil
from dataclasses import replace

import pytest
import torch
from torch import nn

import edgebudget as eb
from edgebudget.errors import UsageError
from edgebudget.graph import TracedGraph
from edgebudget.pipeline import Request, check_graph, check_model, recommend, resolve_asked, run
from edgebudget.profiles import load_profile
from edgebudget.report import ReportError
from edgebudget.verdict import Decision
from tests.handmade import GO_RESULT, with_decision


@pytest.fixture(scope="module")
def graph() -> TracedGraph:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).to("meta")
    traced: TracedGraph = eb.trace(model, (torch.zeros(2, 3, 16, 16, device="meta"),))
    return traced


def test_trace_estimate_check(graph: TracedGraph) -> None:
    estimate = eb.estimate(graph, dtype="float32", runtime="pytorch")
    result = eb.check(estimate, eb.load_profile("raspberrypi"))
    assert result.decision is Decision.GO
    assert result.parameter_numel == 8 * 3 * 9 + 8
    assert (result.batch, result.inputs) == (2, ("2x3x16x16:float32",))


def test_compare_is_a_frame() -> None:
    frame = eb.compare(["squeezenet1_1"], devices=["raspberrypi"], runtimes=["pytorch"]).to_frame()
    assert list(frame["dtype"]) == ["float32", "int8", "float16"]  # the one to take, then by peak
    assert list(frame["device"].unique()) == ["raspberrypi"]
    assert frame["parameter_numel"].iloc[0] == 1_235_496
    assert frame["raw_peak_bytes"].dtype == "Int64"


def test_public_names_are_functions_whatever_was_imported_before() -> None:
    for module in pkgutil.iter_modules(eb.__path__):
        assert module.name not in eb.__all__
    for name in ("verdict", "estimation", "comparison", "tracing", "profiles"):
        importlib.import_module(f"edgebudget.{name}")
    for name in eb.__all__:
        assert callable(getattr(eb, name)) or name == "__version__"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fit_all'"):
        _ = eb.fit_all


def test_check_graph_orders_by_device_runtime_dtype(graph: TracedGraph) -> None:
    devices = (load_profile("raspberrypi"), load_profile("linux-x86_64"))
    results = check_graph("net", graph, Request(devices, ("int8", "float32"), ("pytorch",))).results
    assert [(r.device, r.runtime, r.dtype) for r in results] == [
        (device.name, "pytorch", dtype) for device in devices for dtype in ("int8", "float32")
    ]
    assert [r.recommended for r in results] == [True, False, True, False]


def test_a_failing_option_is_an_error_with_its_reason(graph: TracedGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise UsageError("Not this one.", "Take another.")

    monkeypatch.setattr("edgebudget.pipeline.estimate", fails)
    (result,) = check_graph("net", graph, Request((load_profile("raspberrypi"),), ("float32",), ("pytorch",))).results
    assert result.decision is Decision.ERROR
    assert result.reasons == ("Not this one. Take another.",)
    assert (result.batch, result.peak_bytes) == (2, None)


def test_a_bug_with_one_model_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*arguments: object, **options: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("edgebudget.pipeline.check_graph", breaks)
    outcome = check_model("squeezenet1_1", Request((load_profile("raspberrypi"),)))
    assert outcome == ReportError(
        "squeezenet1_1", None, "squeezenet1_1: unexpected KeyError: 'x'.", "Run with --debug for the traceback."
    )


def test_an_alias_asked_for_is_the_name_reported() -> None:
    assert [profile.name for profile in resolve_asked(["raspberrypi", "raspberrypi", "raspberrypi-4b-4gb"])] == [
        "raspberrypi",
        "raspberrypi-4b-4gb",
    ]


@pytest.mark.parametrize(
    ("decisions", "order", "taken"),
    [
        (["GO", "GO"], ["float32", "int8"], "float32"),
        (["GO", "GO"], ["int8", "float32"], "int8"),
        (["MARGINAL", "GO"], ["float32", "int8"], "int8"),
        (["MARGINAL", "NO-GO"], ["float32", "int8"], None),
    ],
)
def test_recommend(decisions: list[str], order: list[str], taken: str | None) -> None:
    options = [
        with_decision(Decision(decision), dtype=dtype)
        for decision, dtype in zip(decisions, ["float32", "int8"], strict=True)
    ]
    marked = [option.dtype for option in recommend(options, order) if option.recommended]
    assert marked == ([taken] if taken else [])


def test_recommend_takes_the_first_of_equals() -> None:
    options = [GO_RESULT, replace(GO_RESULT, runtime="other")]
    assert [option.recommended for option in recommend(options, ["float32"])] == [True, False]


def test_run_refuses_what_names_nothing() -> None:
    device = load_profile("raspberrypi")
    for models, request, said in (
        ([], Request((device,)), "No model"),
        (["m"], Request(()), "No device"),
        (["m"], Request((device,), ()), "No dtype"),
        (["m"], Request((device,), runtimes=("x",)), "Unknown runtime"),
        (["m"], Request((replace(device, default_runtime="y"),)), "Unknown runtime 'y'"),
    ):
        with pytest.raises(UsageError, match=said):
            run(models, request)
