"""The fit on data whose truth is known: coefficients, outliers, coverage, refusals."""

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest

pytest.importorskip("scipy")

from edgebudget.calibration.conformal import conformal_bounds, needed, outermost, ranks
from edgebudget.calibration.fit import Fitter, Origin, digest, fit
from edgebudget.calibration.model import CUDA, CUDA_TENSORS, PHASES, raw_coefficients
from edgebudget.calibration.pairs import Pair
from edgebudget.calibration.store import Calibrations, parse_fits, to_json
from edgebudget.errors import CalibrationError
from edgebudget.runtimes.interface import Kept, MemoryLayout, PeakOp

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
    fitted = fit(made_up(400, noise=0.03, seed=1), ORIGIN, level=0.9)
    fresh = made_up(2000, noise=0.03, seed=2)
    ratios = [pair.ratios(fitted.coefficients)[0] for pair in fresh]
    covered = sum(fitted.low_ratio <= ratio <= fitted.high_ratio for ratio in ratios) / len(ratios)
    assert covered == pytest.approx(0.9, abs=0.02)


def test_the_interval_covers_all_processes_of_new_models_as_stated() -> None:
    def several(pairs: list[Pair]) -> list[Pair]:
        peaks = {pair.model: pair.measured_peak_bytes for pair in pairs}
        return [replace(p, peaks_bytes=tuple(round(peaks[p.model] * f) for f in (0.9, 1.0, 1.2))) for p in pairs]

    pairs = made_up(400, noise=0.03, seed=1)
    alone, fitted = fit(pairs, ORIGIN, level=0.9), fit(several(pairs), ORIGIN, level=0.9)
    assert fitted.coefficients == alone.coefficients  # of the median
    assert (fitted.low_ratio, fitted.high_ratio) == pytest.approx((0.9 * alone.low_ratio, 1.2 * alone.high_ratio), 0.02)
    ratios = [pair.ratios(fitted.coefficients) for pair in several(made_up(2000, noise=0.03, seed=2))]
    covered = sum(fitted.low_ratio <= low and high <= fitted.high_ratio for low, high in ratios) / len(ratios)
    assert covered == pytest.approx(0.9, abs=0.02)


def test_a_fit_that_does_not_beat_the_raw_estimate_is_not_used() -> None:
    exact = [
        replace(pair, measured_bytes={phase: sum(pair.parts[phase].values()) - 1 for phase in PHASES})
        for pair in made_up(30, noise=0.0)
    ]
    fitted = fit(exact, ORIGIN)
    assert fitted.coefficients == raw_coefficients()
    assert "no correction did better" in fitted.note
    assert fitted.held_out == fitted.held_out_raw


def test_a_simple_truth_gets_a_simple_fit() -> None:
    halved = [
        replace(pair, measured_bytes={phase: sum(pair.parts[phase].values()) // 2 for phase in PHASES})
        for pair in made_up(30, noise=0.0)
    ]
    for phase, coefficients in fit(halved, ORIGIN).coefficients.items():
        assert {name: round(value, 2) for name, value in coefficients.items()} == {
            name: 0.0 if name == "constant" else 0.5 for name in coefficients
        }, phase


@pytest.mark.parametrize("seed", range(5))
def test_a_little_gain_is_no_reason_for_more_coefficients(seed: int) -> None:
    # Weights count 1.50 times and the rest 1.53 times, with noise of 5 %: nothing tells them apart for sure.
    rng = random.Random(seed)
    nearly_alike = [
        replace(
            pair,
            measured_bytes={
                phase: round(rng.gauss(1.53, 0.05) * sum(parts.values()) - 0.03 * parts.get("weights", 0))
                for phase, parts in pair.parts.items()
            },
        )
        for pair in made_up(60, noise=0.0, seed=seed)
    ]
    fitted = fit(nearly_alike, ORIGIN)
    assert len({round(value, 6) for name, value in fitted.coefficients["inference"].items() if name != "constant"}) == 1


def test_where_loading_was_not_measured_its_peak_stays_raw_and_that_is_said() -> None:
    inference = [
        replace(
            p, parts={"inference": p.parts["inference"]}, measured_bytes={"inference": p.measured_bytes["inference"]}
        )
        for p in made_up(60, noise=0.01)
    ]
    fitted = fit(inference, ORIGIN)
    assert fitted.coefficients["load"] == raw_coefficients()["load"]
    assert fitted.coefficients["inference"]["weights"] == pytest.approx(1.05, abs=0.05)
    assert fitted.note == "Loading was not measured: its peak is the raw estimate's."


def kept_apart(pair: Pair, least: float, most: float) -> Pair:
    """The pair with processes that keep less and more: the parts that are pages times `least` and `most`."""

    def times(share: float) -> dict[str, dict[str, int]]:
        return {phase: {**parts, "mapped": round(parts["mapped"] * share)} for phase, parts in pair.parts.items()}

    return replace(pair, least_parts=times(least), most_parts=times(most))


def test_what_processes_differ_by_is_no_error_where_the_estimate_tells_them_apart() -> None:
    """Each end is counted from its own process: a spread that was foreseen leaves the ratios alone."""
    exact = [replace(p, peaks_bytes=(p.measured_peak_bytes,)) for p in made_up(60, noise=0.0)]
    foreseen = []
    for pair in exact:
        apart = kept_apart(pair, 0.5, 2.0)
        ends = [replace(pair, parts=parts).predict(TRUE) for parts in (apart.least_parts, apart.most_parts)]
        foreseen.append(replace(apart, peaks_bytes=tuple(map(round, ends))))
    fitted = fit(foreseen, ORIGIN)
    assert fitted.low_ratio == pytest.approx(1, abs=1e-3)
    assert fitted.high_ratio == pytest.approx(1, abs=1e-3)
    unforeseen = fit([replace(p, least_parts={}, most_parts={}) for p in foreseen], ORIGIN)
    assert unforeseen.high_ratio > 1.05

    layout = replace(a_layout(50 * MIB), load_kept_bytes=MIB, inference_kept_bytes=MIB)
    wide = replace(layout, kept_least=Kept(0, 0), kept_most=Kept(9 * MIB, 9 * MIB))
    narrow, interval = fitted.interval(layout, "x86-64"), fitted.interval(wide, "x86-64")
    assert interval.peak_bytes == narrow.peak_bytes
    assert interval.low_bytes < narrow.low_bytes < narrow.high_bytes < interval.high_bytes


def test_no_upper_end_is_below_what_the_errors_of_the_runtime_ask_for() -> None:
    tight, loose = Fitter(made_up(40, 0.001, seed=3), ORIGIN), Fitter(made_up(160, 0.05, seed=4), ORIGIN)
    together = outermost([*tight.ratios(), *loose.ratios()], tight.level)[1]
    assert tight.fit().high_ratio < together
    assert tight.fit(at_least=together).high_ratio == together
    assert loose.fit(at_least=1.0) == loose.fit()


@pytest.mark.parametrize(("version", "named"), [("1.9.2", False), ("2.0.0", True), ("0.7", True)])
def test_another_major_version_widens_the_interval_and_is_named(version: str, named: bool) -> None:
    same = fit(made_up(40, 0.02), ORIGIN)
    other = replace(same, versions={"executorch": version, "torch": "9.0"})
    layout = a_layout(100 * MIB)
    widened = other.interval(layout, "x86-64").high_bytes - same.interval(layout, "x86-64").high_bytes
    assert (widened > 0) is named
    said = f"measured with executorch {version}, and executorch 1 is modelled: the interval is twice as wide"
    assert (said in " ".join(other.caveats("x86-64"))) is named
    if named:
        peak = same.interval(layout, "x86-64").peak_bytes
        assert widened == pytest.approx(same.interval(layout, "x86-64").high_bytes - peak, abs=2)


def a_layout(weights: int) -> MemoryLayout:
    return MemoryLayout(
        activation_lower_bound_bytes=MIB,
        activation_bytes=MIB,
        activation_total_bytes=MIB,
        activation_peak_numel=1,
        workspace_bytes=0,
        load_heap_bytes=weights,
        inference_heap_bytes=weights + MIB,
        load_mapped_bytes=0,
        inference_mapped_bytes=0,
        storage_bytes=weights,
        runtime_bytes=0,
        peak_op=PeakOp(0, "", ""),
        timeline=(),
    )


def test_fits_of_a_gpu_speak_for_devices_with_one_and_else_for_tensors_alone() -> None:
    process = replace(fit(made_up(40, 0.02), ORIGIN), runtime="pytorch", versions={"torch": "2.11.0"})
    segments = replace(process, isa=CUDA, fixed_bytes=7 * MIB)
    tensors = replace(process, isa=CUDA_TENSORS)
    every = Calibrations((segments, tensors, process))
    assert every.find("pytorch", "float32", CUDA) is segments
    assert every.find("pytorch", "float32", "armv8-a") is process
    without = Calibrations((segments, tensors))
    assert without.find("pytorch", "float32", "armv8-a") is tensors
    assert Calibrations((segments,)).find("pytorch", "float32", "armv8-a") is None
    assert Calibrations((process, tensors)).find("pytorch", "float32", CUDA) is None
    assert "Tensors were measured on a GPU" in " ".join(tensors.caveats("armv8-a"))
    layout = a_layout(100 * MIB)
    on_gpu, bare = segments.interval(layout, CUDA), replace(segments, fixed_bytes=0).interval(layout, CUDA)
    assert on_gpu.peak_bytes - bare.peak_bytes == on_gpu.low_bytes - bare.low_bytes == 7 * MIB
    assert tensors.interval(layout, "x86-64").high_bytes > process.interval(layout, "x86-64").high_bytes


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
    ratios = [(ratio, ratio) for ratio in (0.80, 0.90, 0.95, 1.0, 1.0, 1.0, 1.05, 1.1, 1.2)]
    # (9 + 1) * (1 - 0.8) = 2 gaps left out, one at each end: the smallest and the largest of nine bound 80 %
    assert conformal_bounds(ratios, 0.8) == (0.80, 1.2)
    # (9 + 1) * (1 - 0.6) = 4 gaps: a fifth of them is less than one, so one above and three below
    assert conformal_bounds(ratios, 0.6) == (0.95, 1.2)
    with pytest.raises(CalibrationError, match="at least 19 models"):
        conformal_bounds(ratios, 0.9)
    assert outermost(ratios, 0.9) == (0.80, 1.2)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("count", [1, 2, 19, 20, 35, 99, 400, 4000])
def test_as_many_gaps_are_left_out_as_the_level_allows_and_a_fifth_of_them_above(count: int, level: float) -> None:
    below, above = ranks(count, level)
    assert below >= 1
    assert above >= 1
    if count >= needed(level):
        share = (below + above) / (count + 1)
        assert 1 - level - 1 / (count + 1) < share <= 1 - level + 1e-9
        assert above == 1 or above / (below + above) <= 1 / 5
    else:
        assert (below, above) == (1, 1)


@pytest.mark.parametrize("count", [19, 28, 60, 150])
def test_new_ratios_lie_within_as_stated_and_above_no_more_often_than_stated(count: int) -> None:
    rng = random.Random(count)
    inside = over = 0
    for _ in range(4000):
        drawn = [rng.lognormvariate(0, 0.1) for _ in range(count + 1)]
        low, high = conformal_bounds([(ratio, ratio) for ratio in drawn[1:]], 0.9)
        inside += low <= drawn[0] <= high
        over += drawn[0] > high
    below, above = ranks(count, 0.9)
    assert inside / 4000 == pytest.approx(1 - (below + above) / (count + 1), abs=0.02)
    assert inside / 4000 > 0.88
    assert over / 4000 == pytest.approx(above / (count + 1), abs=0.015)


def with_unseen(pairs: list[Pair], every: int, off: float) -> list[Pair]:
    """`pairs` as if built on, but for one in `every`, whose peaks are `off` times as far above what is predicted."""
    return [
        replace(pair, measured_bytes={ph: round(nbytes * off) for ph, nbytes in pair.measured_bytes.items()})
        if index % every == 0
        else replace(pair, built_on=True)
        for index, pair in enumerate(pairs)
    ]


def test_intervals_hold_the_stated_share_of_models_that_nothing_was_built_on() -> None:
    pairs = with_unseen(made_up(240, noise=0.02, seed=3), every=10, off=1.3)
    fitted = fit(pairs, ORIGIN)
    fresh = [replace(p, built_on=False) for p in with_unseen(made_up(800, noise=0.02, seed=4), every=1, off=1.3)]
    ratios = [pair.ratios(fitted.coefficients)[0] for pair in fresh]
    assert fitted.unseen == 24
    assert sum(fitted.low_ratio <= ratio <= fitted.high_ratio for ratio in ratios) / len(ratios) > 0.9
    mixed = fit([replace(pair, built_on=True) for pair in pairs], ORIGIN)
    assert mixed.coefficients == fitted.coefficients
    held = sum(mixed.low_ratio <= ratio <= mixed.high_ratio for ratio in ratios) / len(ratios)
    assert held < 0.9  # which is why it matters who was seen


def test_few_models_that_nothing_was_built_on_are_all_held_and_that_is_said() -> None:
    pairs = with_unseen(made_up(40, noise=0.02, seed=3), every=10, off=1.5)
    fitted = fit(pairs, ORIGIN)
    assert "Only 4 of its models played no part" in fitted.note
    highest = max(pair.ratios(fitted.coefficients)[1] for pair in pairs)
    assert fitted.high_ratio > 0.98 * highest
    assert "at most 1 in 5 above it" in fitted.provenance


def test_a_fit_without_a_family_is_that_of_the_others_to_the_digit() -> None:
    pairs = [replace(pair, built_on=index % 3 > 0) for index, pair in enumerate(made_up(60, noise=0.05, seed=5))]
    fitter = Fitter(pairs, ORIGIN)
    whole = fitter.fit()
    for family in ("family 0", "family 7"):
        others = [pair for pair in pairs if pair.family != family]
        assert fitter.fit(family) == fit(others, ORIGIN)
        wild = [p if p.family != family else replace(p, measured_bytes=dict.fromkeys(PHASES, MIB)) for p in pairs]
        assert Fitter(wild, ORIGIN).fit(family) == fitter.fit(family)
        assert fitter.fit(family) != whole
    assert fitter.fit("a family that was not measured") == whole == fit(pairs, ORIGIN)


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
