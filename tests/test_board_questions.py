"""What boards are asked about verdicts: what judges was not built on."""

from edgebudget.evidence import recorded_measurements
from edgebudget.profiles import load_profile
from edgebudget.validation.board_questions import BUILD, JUDGE, QUESTIONS, UNMEASURED


def test_no_model_that_judges_was_built_on_in_any_dtype() -> None:
    assert {q.subject.model for q in BUILD}.isdisjoint(q.subject.model for q in JUDGE)
    assert all(len(set(questions)) == len(list(questions)) for questions in QUESTIONS.values())


def test_models_that_nobody_measured_are_in_no_recorded_data() -> None:
    assert set(UNMEASURED) < {q.subject.model for q in JUDGE}
    measured = {m.subject.model for part in ("build", "judge") for m in recorded_measurements(part)}
    assert measured.isdisjoint(UNMEASURED)


def test_what_judges_is_just_below_and_just_above_on_two_cores_and_three_sizes_of_ram() -> None:
    below = [q for q in JUDGE if q.of == "low" and 0.9 <= q.factor < 1]
    above = [q for q in JUDGE if q.of == "high" and 1 < q.factor <= 1.1]
    assert len(below) == len(above) >= 30
    profiles = [load_profile(name) for name in JUDGE.boards]
    assert {profile.cpu.cores[0] for profile in profiles} == {"cortex-a53", "cortex-a72"}
    assert {profile.memory.ram_bytes >> 20 for profile in profiles} == {512, 1024, 2048}
