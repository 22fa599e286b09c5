"""The fit on data whose truth is known: coefficients, outliers, coverage, refusals."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

pytest.importorskip("scipy")

from edgebudget.calibration.fit import Origin, Pair, conformal_bounds, digest, fit
from edgebudget.calibration.model import PHASES, raw_coefficients
from edgebudget.calibration.store import Calibrations, parse_fits, to_json
from edgebudget.errors import CalibrationError

MIB = 2**20
ORIGIN = Origin("executorch-xnnpack", "float32", "x86-64", "a CPU", "2026-01-01", "2026-01-02", {"executorch": "1.0"})
TRUE = {
    "load": {"heap": 1.1, "mapped": 0.9, "constant": 2.0 * MIB},
    "inference": {"weights": 1.05, "activations": 1.3, "workspace": 0.7, "mapped": 0.2, "constant": 1.0 * MIB},
}


def made_up(count: int, noise: float, outliers: float = 0.0, seed: int = 0) -> list[Pair]:
    """Pairs whose measurements follow TRUE, with relative noise; a share of `outliers` is four times too large."""
    rng = random.Random(seed)
    pairs = []
    for index in range(count):
        weights, activations, workspace = (rng.randint(MIB, 100 * MIB) for _ in range(3))
        parts: dict[str, Mapping[str, int]] = {
            "load": {"heap": weights + rng.randint(0, 10 * MIB), "mapped": rng.randint(0, 100 * MIB), "constant": 1},
            "inference": {
                "weights": weights,
                "activations": activations,
                "workspace": workspace,
                "mapped": rng.randint(0, 50 * MIB),
                "constant": 1,
            },
        }
        factor = 4.0 if rng.random() < outliers else 1.0
        measured = {
            phase: round(
                factor * rng.gauss(1, noise) * sum(TRUE[phase][part] * nbytes for part, nbytes in parts[phase].items())
            )
            for phase in PHASES
        }
        pairs.append(Pair(f"model {index}", f"family {index % 12}", parts, measured))
    return pairs


def test_known_coefficients_are_recovered_from_exact_data() -> None:
    fitted = fit(made_up(60, noise=0.0), ORIGIN)
    for phase in PHASES:
        assert fitted.coefficients[phase] == pytest.approx(TRUE[phase], rel=1e-3)
    assert fitted.held_out.worst < 1e-3
    assert fitted.held_out_raw.median > 0.05
    assert fitted.note == ""


def test_known_coefficients_are_recovered_through_noise_and_outliers() -> None:
    fitted = fit(made_up(300, noise=0.02, outliers=0.05), ORIGIN)
    for phase in PHASES:
        for part, true in TRUE[phase].items():
            if part != "constant":  # a megabyte beside hundreds drowns in 2 % of noise
                assert fitted.coefficients[phase][part] == pytest.approx(true, abs=0.06), (phase, part)
    assert fitted.held_out.median < 0.03


def test_the_interval_covers_new_models_as_stated() -> None:
    fitted = fit(made_up(200, noise=0.03, seed=1), ORIGIN, level=0.9)
    fresh = made_up(2000, noise=0.03, seed=2)
    ratios = [pair.measured_peak_bytes / pair.predict(fitted.coefficients) for pair in fresh]
    covered = sum(fitted.low_ratio <= ratio <= fitted.high_ratio for ratio in ratios) / len(ratios)
    assert covered == pytest.approx(0.9, abs=0.03)


def test_a_fit_that_does_not_beat_the_raw_estimate_is_not_used() -> None:
    exact = [
        replace(pair, measured_bytes={phase: sum(pair.parts[phase].values()) - 1 for phase in PHASES})
        for pair in made_up(30, noise=0.0)
    ]
    fitted = fit(exact, ORIGIN)
    assert fitted.coefficients == raw_coefficients()
    assert "no correction did better" in fitted.note
    assert fitted.held_out == fitted.held_out_raw


def test_coefficients_are_never_negative() -> None:
    shrinking = [
        replace(p, measured_bytes={ph: p.parts[ph].get("weights", p.parts[ph].get("heap", 0)) // 2 for ph in PHASES})
        for p in made_up(40, noise=0.0)
    ]
    fitted = fit(shrinking, ORIGIN)
    assert all(value >= 0 for phase in PHASES for value in fitted.coefficients[phase].values())


@pytest.mark.parametrize(("models", "families"), [(9, 9), (20, 4)])
def test_too_few_measurements_are_refused(models: int, families: int) -> None:
    few = [replace(pair, family=f"family {i % families}") for i, pair in enumerate(made_up(models, 0.01))]
    with pytest.raises(CalibrationError, match="measure more"):
        fit(few, ORIGIN, level=0.5)


def test_bounds_are_the_order_statistics_of_the_level() -> None:
    ratios = [0.80, 0.90, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1, 1.2]
    # (9 + 1) * (1 - 0.8) / 2 = 1: the smallest and the largest of nine bound 80 %
    assert conformal_bounds(ratios, 0.8) == (0.80, 1.2)
    # (9 + 1) * (1 - 0.6) / 2 = 2: the second from either end
    assert conformal_bounds(ratios, 0.6) == (0.90, 1.1)
    with pytest.raises(CalibrationError, match="at least 19 models"):
        conformal_bounds(ratios, 0.9)


def test_the_digest_does_not_depend_on_order_but_on_every_byte() -> None:
    pairs = made_up(12, 0.01)
    assert digest(pairs) == digest(pairs[::-1])
    changed = replace(pairs[3], measured_bytes={**pairs[3].measured_bytes, "load": pairs[3].measured_bytes["load"] + 1})
    assert digest(pairs) != digest([*pairs[:3], changed, *pairs[4:]])


def test_a_fit_survives_its_file_to_the_digit() -> None:
    fitted = fit(made_up(40, 0.02), ORIGIN)
    text = to_json([fitted])
    assert parse_fits(text, "x.json") == (fitted,)
    assert to_json(parse_fits(text, "x.json")) == text
    assert text == to_json([fit(made_up(40, 0.02), ORIGIN)])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}', '{"schema_version": 2, "fits": []}', "null"])
def test_what_is_not_a_calibration_is_named(text: str) -> None:
    with pytest.raises(CalibrationError, match=r"^x\.json: "):
        parse_fits(text, "x.json")


def test_a_fit_from_another_instruction_set_is_a_last_resort() -> None:
    here = fit(made_up(40, 0.02), ORIGIN)
    arm = replace(here, isa="armv8-a")
    both = Calibrations((here, arm))
    assert both.find("executorch-xnnpack", "float32", "armv8.2-a") is arm
    assert both.find("executorch-xnnpack", "float32", "x86-64") is here
    assert Calibrations((here,)).find("executorch-xnnpack", "float32", "armv8-a") is here
    assert both.find("executorch-xnnpack", "int8", "x86-64") is None
    assert "measured on x86-64, not on armv8-a" in " ".join(here.caveats("armv8-a"))
    assert "not on" not in " ".join(arm.caveats("armv9-a"))
