"""Every runtime and dtype option on small forwards that between them meet most operators: an answer, never a fault."""

from functools import cache

import pytest
from executorch_cases import CASES

from edgebudget.dtypes import DTYPES
from edgebudget.estimation import estimate
from edgebudget.graph import TracedGraph
from edgebudget.runtimes import RUNTIMES
from edgebudget.runtimes.interface import Unsupported
from edgebudget.tracing import trace


@cache
def traced(name: str) -> TracedGraph:
    case = CASES[name]()
    return trace(case.module, case.inputs, name=name)


@pytest.mark.parametrize("runtime", RUNTIMES.names())
@pytest.mark.parametrize("name", CASES)
def test_every_option_has_an_answer(name: str, runtime: str) -> None:
    for dtype in DTYPES.names():
        layout = estimate(traced(name), dtype=dtype, runtime=runtime).layout
        if isinstance(layout, Unsupported):
            assert layout.reason
            continue
        assert layout.activation_lower_bound_bytes >= 0
        assert layout.resident_peak_bytes > 0
        alive = [nbytes for _, nbytes in layout.timeline]
        assert all(nbytes >= 0 for nbytes in alive)
        assert all(tensor.nbytes >= 0 and tensor.first <= tensor.last for tensor in layout.tensors)
