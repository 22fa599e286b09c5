"""Planned bytes of small forwards, exactly as executorch plans them, without executorch."""

import pytest
from executorch_cases import CASES, ESTIMATED_OTHERWISE, PLANNED, PLANNED_WITH_XNNPACK, WITHOUT_KERNEL

from edgebudget.dtypes import DTYPES
from edgebudget.planning import verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes._xnnpack.method import DELEGATE_SLACK_BYTES
from edgebudget.runtimes._xnnpack.program import compile_program
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import GENERIC
from edgebudget.tracing import trace


def lay_out(name: str) -> MemoryLayout | Unsupported:
    case = CASES[name]()
    graph = trace(case.module, case.inputs, name=name)
    return RUNTIMES.get("executorch").lay_out(graph, DTYPES.get("float32"), GENERIC)


RUN = [name for name, planned in PLANNED.items() if planned is not None and name not in WITHOUT_KERNEL]


@pytest.mark.parametrize("name", RUN)
def test_planned_bytes_are_those_of_executorch(name: str) -> None:
    layout = lay_out(name)
    assert isinstance(layout, MemoryLayout)
    assert layout.activation_bytes == PLANNED[name]
    assert layout.arena is not None
    verify_plan(layout.arena, 16)
    assert layout.activation_lower_bound_bytes <= layout.activation_bytes


@pytest.mark.parametrize("name", [name for name, planned in PLANNED.items() if planned is None])
def test_what_executorch_refuses_to_lower_is_unsupported(name: str) -> None:
    layout = lay_out(name)
    assert isinstance(layout, Unsupported)
    assert "aten." in layout.reason


@pytest.mark.parametrize("name", WITHOUT_KERNEL)
def test_what_executorch_has_no_kernel_for_is_unsupported(name: str) -> None:
    layout = lay_out(name)
    assert isinstance(layout, Unsupported)
    assert f"no kernel for {WITHOUT_KERNEL[name]}" in layout.reason


def test_every_case_has_a_recorded_answer() -> None:
    assert CASES.keys() == PLANNED.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_executorch_itself_plans_what_is_recorded(name: str) -> None:
    exir = pytest.importorskip("executorch.exir")
    torch = pytest.importorskip("torch")
    case = CASES[name]()
    exported = torch.export.export(case.module.eval(), case.inputs)
    if PLANNED[name] is None:
        with pytest.raises(Exception, match="not in Core ATen"):
            exir.to_edge(exported)
        return
    program = exir.to_edge(exported).to_executorch()
    assert program.executorch_program.execution_plan[0].non_const_buffer_sizes[1] == PLANNED[name]
    bindings = pytest.importorskip("executorch.extension.pybindings.portable_lib")
    module = bindings._load_for_executorch_from_buffer(program.buffer)
    if name in WITHOUT_KERNEL:
        with pytest.raises(RuntimeError):
            module.run_method("forward", case.inputs)
    else:
        assert module.run_method("forward", case.inputs)


def plan_with_xnnpack(name: str) -> int:
    case = CASES[name]()
    program = compile_program(trace(case.module, case.inputs, name=name), DTYPES.get("float32"))
    return program.plan.nbytes + (DELEGATE_SLACK_BYTES if program.delegates else 0)


@pytest.mark.parametrize("name", [name for name, planned in PLANNED_WITH_XNNPACK.items() if planned is not None])
def test_planned_bytes_with_xnnpack(name: str) -> None:
    assert plan_with_xnnpack(name) == ESTIMATED_OTHERWISE.get(name, PLANNED_WITH_XNNPACK[name])


def test_what_is_estimated_otherwise_is_of_the_same_size() -> None:
    for name, estimated in ESTIMATED_OTHERWISE.items():
        planned = PLANNED_WITH_XNNPACK[name]
        assert planned is not None
        assert estimated != planned
        assert 0.35 * planned <= estimated <= 1.5 * planned


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_xnnpack_itself_plans_what_is_recorded(name: str) -> None:
    exir = pytest.importorskip("executorch.exir")
    partitioner = pytest.importorskip("executorch.backends.xnnpack.partition.xnnpack_partitioner")
    torch = pytest.importorskip("torch")
    case = CASES[name]()
    exported = torch.export.export(case.module.eval(), case.inputs)
    if PLANNED_WITH_XNNPACK[name] is None:
        with pytest.raises(Exception, match=r"not in Core ATen|constant data node"):
            exir.to_edge_transform_and_lower(exported, partitioner=[partitioner.XnnpackPartitioner()])
        return
    edge = exir.to_edge_transform_and_lower(exported, partitioner=[partitioner.XnnpackPartitioner()])
    plan = edge.to_executorch().executorch_program.execution_plan[0]
    assert sum(plan.non_const_buffer_sizes[1:]) == PLANNED_WITH_XNNPACK[name]
