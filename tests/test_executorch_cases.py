"""Planned bytes of small forwards, exactly as executorch plans them, without executorch."""

import pytest
from executorch_cases import CASES, PLANNED

from edgebudget.dtypes import DTYPES
from edgebudget.planning import verify_plan
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import MemoryLayout, Unsupported
from edgebudget.target import GENERIC
from edgebudget.tracing import trace


def lay_out(name: str) -> MemoryLayout | Unsupported:
    case = CASES[name]()
    graph = trace(case.module, case.inputs, name=name)
    return RUNTIMES.get("executorch").lay_out(graph, DTYPES.get("float32"), GENERIC)


@pytest.mark.parametrize("name", [name for name, planned in PLANNED.items() if planned is not None])
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
    plan = exir.to_edge(exported).to_executorch().executorch_program.execution_plan[0]
    assert plan.non_const_buffer_sizes[1] == PLANNED[name]
