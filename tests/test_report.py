"""The decision over a report, and what the command ends with."""

import pytest

from edgebudget.report import exit_code, worst_decision
from edgebudget.verdict import Decision, best
from tests.handmade import ERROR, report, with_decision

GO, MARGINAL, NO_GO, UNSUPPORTED, FAILED = Decision

# (options of pair 1, options of pair 2), errors?, decision, exit code, exit code with --allow-marginal
TABLE = [
    ([GO], [], False, GO, 0, 0),
    ([GO], [GO], False, GO, 0, 0),
    ([GO, NO_GO], [], False, GO, 0, 0),
    ([NO_GO, UNSUPPORTED, GO], [GO, FAILED], False, GO, 0, 0),
    ([MARGINAL], [], False, MARGINAL, 1, 0),
    ([GO], [MARGINAL], False, MARGINAL, 1, 0),
    ([MARGINAL, GO], [GO, MARGINAL], False, GO, 0, 0),
    ([MARGINAL, NO_GO], [GO], False, MARGINAL, 1, 0),
    ([NO_GO], [], False, NO_GO, 1, 1),
    ([GO], [NO_GO], False, NO_GO, 1, 1),
    ([MARGINAL], [NO_GO, UNSUPPORTED], False, NO_GO, 1, 1),
    ([UNSUPPORTED], [], False, UNSUPPORTED, 1, 1),
    ([GO], [UNSUPPORTED, FAILED], False, UNSUPPORTED, 1, 1),
    ([FAILED], [], False, FAILED, 2, 2),
    ([GO], [FAILED], False, FAILED, 2, 2),
    ([GO], [], True, FAILED, 2, 2),
    ([NO_GO], [], True, FAILED, 2, 2),
    ([], [], True, FAILED, 2, 2),
    ([], [], False, FAILED, 2, 2),
]


@pytest.mark.parametrize(("first", "second", "failed", "decision", "code", "lenient"), TABLE)
def test_decision_and_exit_code(first, second, failed, decision, code, lenient) -> None:
    results = [with_decision(d, model="a", dtype=f"t{i}") for i, d in enumerate(first)]
    results += [with_decision(d, model="b", dtype=f"t{i}") for i, d in enumerate(second)]
    whole = report(*results, errors=(ERROR,) if failed else ())
    assert whole.decision is decision
    assert exit_code(whole, allow_marginal=False) == code
    assert exit_code(whole, allow_marginal=True) == lenient


def test_best_of_nothing_is_an_error() -> None:
    assert best([]) is Decision.ERROR


def test_pairs_keep_their_order() -> None:
    whole = report(with_decision(GO, "b"), with_decision(GO, "a"), with_decision(NO_GO, "b", "int8"))
    assert [(pair, len(options)) for pair, options in whole.pairs().items()] == [(("b", "d"), 2), (("a", "d"), 1)]


def test_a_devices_part_has_its_own_decision() -> None:
    whole = report(with_decision(GO, device="large"), with_decision(NO_GO, device="small"))
    assert whole.decision is NO_GO
    assert whole.for_device("large").decision is GO
    assert [result.device for result in whole.for_device("small").results] == ["small"]


def test_an_error_on_all_devices_is_in_every_part() -> None:
    whole = report(with_decision(GO, device="large"), errors=(ERROR,))
    assert whole.for_device("large").errors == (ERROR,)
    assert worst_decision(whole.results, ()) is GO
