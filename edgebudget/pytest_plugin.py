"""The pytest plug-in: the fixture `assert_fits`, for tests that a model still fits its device.

pytest imports this file whenever it starts, so nothing is imported here that a run without the fixture does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from edgebudget.fitting.interface import Case
    from edgebudget.verdict import CheckResult

PROPOSALS = 3
"""How many changes that would fit a failure names: the cheapest ones."""


class AssertFits(Protocol):
    """What the fixture is."""

    def __call__(
        self,
        model: nn.Module,
        inputs: object,
        *,
        device: str = "raspberrypi",
        dtype: str = "int8",
        runtime: str | None = None,
        headroom: str = "0",
        allow_marginal: bool = False,
    ) -> CheckResult:
        """Return the verdict on `model` with `inputs`: a tensor, the arguments in a tuple or list, or keyword
        arguments in a dict; tensors on meta are enough.

        Fails the test where the verdict is not GO (nor MARGINAL with `allow_marginal`), with the peak, the budget and
        what would fit. `runtime` defaults to the device's own, `headroom` is a share of the budget to keep free.
        Raises EdgeBudgetError for names that do not exist and models that cannot be traced.
        """
        ...


@pytest.fixture(scope="session")
def assert_fits() -> AssertFits:
    """Assert that a model fits a device: assert_fits(model, inputs, device="raspberrypi", dtype="int8")."""
    return _assert_fits


def _assert_fits(
    model: nn.Module,
    inputs: object,
    *,
    device: str = "raspberrypi",
    dtype: str = "int8",
    runtime: str | None = None,
    headroom: str = "0",
    allow_marginal: bool = False,
) -> CheckResult:
    __tracebackhide__ = True
    from edgebudget.fitting.interface import Case
    from edgebudget.profiles import load_profile
    from edgebudget.sources.interface import LoadedModel
    from edgebudget.tracing import trace
    from edgebudget.units import parse_percent
    from edgebudget.verdict import Decision

    profile = load_profile(device)
    args, kwargs = _arguments(inputs)
    loaded = LoadedModel(type(model).__name__, model, args, kwargs)
    graph = trace(model, args, kwargs)
    case = Case(
        model=loaded.name,
        loaded=loaded,
        graph=graph,
        device=profile,
        runtime=runtime or profile.default_runtime,
        dtype=dtype,
        headroom_percent=parse_percent(headroom),
    )
    result = case.check()
    if result.decision not in ((Decision.GO, Decision.MARGINAL) if allow_marginal else (Decision.GO,)):
        pytest.fail(_failure(case), pytrace=False)
    return result


def _arguments(inputs: object) -> tuple[tuple[object, ...], Mapping[str, object]]:
    if isinstance(inputs, dict):
        return (), inputs
    return (tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)), {}


def _failure(case: Case) -> str:
    """Return why the test fails: what it takes, what there is, and the cheapest changes that would fit."""
    from edgebudget.fitting._search import advise
    from edgebudget.units import format_bytes

    advice = advise(case)
    result = advice.asked.result
    lines = [f"{case.model} does not fit {result.device}: {result.decision} as {result.dtype} in {result.runtime}."]
    if result.peak_high_bytes is not None and result.budget_bytes is not None:
        high_bytes, budget_bytes = result.peak_high_bytes, result.budget_bytes
        lines.append(f"  peak:   {format_bytes(high_bytes)} at worst ({high_bytes:,} bytes)")
        lines.append(f"  budget: {format_bytes(budget_bytes)} ({budget_bytes:,} bytes)")
    lines += [f"  {reason}" for reason in result.reasons]
    fitting = [proposal for proposal in advice.proposals if proposal.fits]
    for proposal in fitting[:PROPOSALS]:
        what = " ".join(change for _, change in proposal.case.changes)
        lines.append(
            f"  Would fit, with a peak of {format_bytes(proposal.result.peak_high_bytes or 0)} at worst: {what}"
        )
    best = advice.best
    if not fitting and best is not None and best.short_bytes:
        what = " ".join(change for _, change in best.case.changes) or "as it is"
        lines.append(f"  Nothing tried would fit. The nearest is {best.short_bytes:,} bytes short: {what}")
    return "\n".join(lines)
