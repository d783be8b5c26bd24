import math

import numpy as np
import pytest
from analysis.factor_sweeps import DECAYS, VALLEY, answers, sweep
from scipy import stats

from ncdiag.analysis.regularities import CLAIMS
from ncdiag.domain.multiplicity import holm


def test_a_valley_in_depth(make_frames, make_run):
    found = answers(make_frames(sweep(make_run, "depth", VALLEY)))["depth", "non_monotone"]
    logs = [np.log(seeds) for seeds in VALLEY.values()]
    means = [values.mean() for values in logs]
    arms = [stats.ttest_ind(logs[end], logs[1], equal_var=False, alternative="greater").pvalue for end in (0, 2)]
    assert found.p == pytest.approx(2 * max(arms), rel=1e-6)
    assert found.extra["p_holm"] == found.p
    assert (found.extra["family"], found.extra["verdict"]) == (1, "supported")
    assert (found.extra["shape"], found.extra["turn"], found.extra["fastest"]) == ("valley", 5, [5])
    assert found.estimate == pytest.approx(math.exp(min(means[0], means[2]) - means[1]))
    for side, later, earlier in (("left", 1, 0), ("right", 2, 1)):
        welch = stats.ttest_ind(logs[later], logs[earlier], equal_var=False).confidence_interval(0.95)
        expected = np.exp([means[later] - means[earlier], welch.low, welch.high])
        assert [found.extra[side][name] for name in ("ratio", "lo", "hi")] == pytest.approx(expected)
    # the smaller change is that on the left, where the later onset is the first
    smaller = stats.ttest_ind(logs[0], logs[1], equal_var=False).confidence_interval(0.95)
    assert (found.lo, found.hi) == pytest.approx((math.exp(smaller.low), math.exp(smaller.high)))
    assert [found.extra[side]["bound"] for side in ("left", "right")] == [None, None]
    assert found.extra["p_unsteady"] < 0.01
    assert (found.n_runs, found.n_conditions) == (9, 3)


@pytest.mark.parametrize("epochs", [200, 60])
def test_every_result_says_what_its_group_is_whether_or_not_it_could_be_tested(make_frames, make_run, epochs):
    runs = sweep(make_run, "weight_decay", DECAYS, epochs=epochs)
    others = sweep(make_run, "activation", {"relu": (20.0, 21.0), "gelu": (30.0, 31.0)}, arch="cnn")
    found = answers(make_frames(runs | others))
    own = [result for result in found.values() if result.group]
    assert {result.status == "ok" for result in own} == {True, epochs == 200}
    for result in own:
        values = [level["level"] for level in result.extra["levels"]]
        assert result.extra["factor"] == result.question.replace("-", "_")
        assert values == (sorted(DECAYS) if result.question == "weight-decay" else ["gelu", "relu"])
        assert 0 < result.extra["budget"] <= 200


def test_a_peak_is_as_high_as_its_lower_side(make_frames, make_run):
    rates = {2: (20.0, 20.5, 21.0), 5: (30.0, 31.0, 33.0), 8: (21.0, 21.5, 22.0)}
    found = answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"]
    _, peak, last = (np.log(seeds) for seeds in rates.values())
    welch = stats.ttest_ind(peak, last, equal_var=False).confidence_interval(0.95)
    expected = np.exp([peak.mean() - last.mean(), welch.low, welch.high])
    assert (found.extra["shape"], found.extra["turn"], found.extra["verdict"]) == ("peak", 5, "supported")
    assert [found.estimate, found.lo, found.hi] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("factor", "value"), [("depth", 1), ("depth", 9), ("weight_decay", 1e-6), ("weight_decay", 0.1)]
)
def test_a_single_run_takes_no_part_in_tests_of_means_and_is_named(make_frames, make_run, factor, value):
    """It does not say how much its like vary: that of the others may be a third of it, and a test would err in 30 %."""
    rates = VALLEY if factor == "depth" else DECAYS
    question = factor.replace("_", "-")
    found, without = (
        {quantity: result for (asked, quantity), result in answers(make_frames(runs)).items() if asked == question}
        for runs in (
            sweep(make_run, factor, rates | {value: (200.0,)}, epochs=300),
            sweep(make_run, factor, rates, epochs=300),
        )
    )
    (turn,) = {"non_monotone", "valley"} & found.keys()
    for name in ("p", "estimate", "lo", "hi"):
        assert getattr(found[turn], name) == getattr(without[turn], name)
    assert found[turn].extra["p_unsteady"] == without[turn].extra["p_unsteady"]
    assert any("a single run takes no part in a test" in text for text in found[turn].warnings)
    assert not any("single run" in text for text in without[turn].warnings)


def test_one_slow_run_of_a_width_does_not_refute_a_trend(make_frames, make_run):
    rates = {64: (30.0, 30.5, 31.0), 128: (25.0, 25.5, 26.0), 256: (10.0,), 512: (20.0, 20.5, 21.0)}
    trend = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
    assert trend.extra["verdict"] == "supported"
    again = answers(make_frames(sweep(make_run, "width", rates | {256: (10.0, 10.5, 11.0)})))["width", "trend"]
    assert again.extra["verdict"] == "refuted"


def test_a_trend_is_refuted_where_the_onset_rises_between_two_widths(make_frames, make_run):
    """A reversal at the third width that grows; the slope over all widths goes on falling."""
    seen = []
    for rise in np.arange(0.0, 3.0, 0.1).tolist():
        rates = {64: (30.0, 30.5, 31.0), 128: (25.0, 25.5, 26.0), 256: (25.0 + rise, 25.6 + rise, 25.9 + rise)}
        rates[512] = (20.0, 20.5, 21.0)
        trend = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
        clearest = stats.ttest_ind(*np.log([rates[256], rates[128]]), equal_var=False, alternative="greater").pvalue
        assert trend.extra["p_rise"] == pytest.approx(min(1, 6 * clearest), rel=1e-4)
        assert trend.extra["rise"] == [128, 256]
        assert trend.hi > 0
        assert (trend.extra["verdict"] == "refuted") == (trend.extra["p_rise"] <= 0.05)
        seen.append(trend.extra["p_rise"])
    assert min(seen) < 0.05 < max(seen)


def test_two_runs_of_each_value_are_enough_for_a_turn(make_frames, make_run):
    rates = {depth: seeds[:2] for depth, seeds in VALLEY.items()}
    assert answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"].status == "ok"


def test_a_value_is_beaten_only_if_the_comparisons_with_all_others_are_allowed_for(make_frames, make_run):
    """The first is earlier than each of the others with p < .05, which three comparisons make more than .05."""
    rates = {2: (20.0, 21.0, 22.0), 5: (22.6, 23.6, 24.6), 8: (22.8, 23.6, 24.4)}
    logs = [np.log(seeds) for seeds in rates.values()]
    p = [stats.ttest_ind(logs[0], other, equal_var=False).pvalue for other in logs[1:]]
    assert max(p) < 0.05 < 3 * min(p)
    assert answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"].extra["fastest"] == [2, 5, 8]


def test_a_steady_rise_has_no_turn(make_frames, make_run):
    rates = {2: (20.0, 20.5, 21.0), 5: (25.0, 25.5, 26.0), 8: (30.0, 31.0, 33.0)}
    found = answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"]
    assert found.extra["verdict"] == "inconclusive"
    assert found.p > 0.9


def test_values_that_never_collapsed_lend_no_certainty(make_frames, make_run):
    """Runs at the budget do not vary; the noise must come from those that collapsed."""
    rates = {2: (90.0, 90.0, 90.0), 5: (20.0, 20.5, 21.0), 8: (30.0, 31.0, 33.0)}
    found = answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"]
    logs = [np.log(seeds) for seeds in list(rates.values())[1:]]
    expected = stats.ttest_ind(logs[1], logs[0], equal_var=False, alternative="greater")
    assert found.extra["df"] == pytest.approx(expected.df)
    assert found.p == pytest.approx(2 * expected.pvalue)
    assert any("understated" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("rates", "status", "says"),
    [
        ({2: (20.0, 21.0), 5: (22.0, 23.0)}, "not_testable", "3 values with two runs each; runs by depth: 2: 2, 5: 2"),
        ({2: (20.0,), 5: (22.0, 23.0), 8: (24.0,)}, "not_testable", "needs 3 values with two runs each"),
        ({2: (90.0,) * 2, 5: (90.0,) * 2, 8: (90.0,) * 2}, "all_censored", "budget of 200 epochs"),
        ({2: (20.0,) * 2, 5: (22.0,) * 2, 8: (25.0,) * 2}, "zero_variance", "agree exactly"),
    ],
)
def test_depth_without_a_test_says_what_it_takes(make_frames, make_run, rates, status, says):
    found = answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"]
    assert found.status == status
    assert says in found.warnings[0]
    assert math.isnan(found.p)
    assert math.isnan(found.extra["p_holm"])
    assert found.extra["verdict"] == "not testable"


WIDTHS = {64: (36.0, 35.0), 128: (31.0, 30.5), 256: (26.0, 27.0), 512: (22.0, 23.0)}


def test_wider_is_faster(make_frames, make_run):
    norms = {64: (1.05, 1.04), 128: (1.03, 1.04), 256: (1.02, 1.01), 512: (1.0, 1.01)}
    found = answers(make_frames(sweep(make_run, "width", WIDTHS, norms)))
    trend, shift = found["width", "trend"], found["width", "fn_shift"]
    assert trend.extra["p_min"] == 1 / 2520
    assert trend.p == pytest.approx(1 / 2520)
    rates = np.concatenate(list(WIDTHS.values()))
    line = stats.linregress(np.repeat([6, 7, 8, 9], 2), np.log(rates))
    assert trend.estimate == pytest.approx(1 - math.exp(line.slope))
    parts = (np.array([-1.5, -0.5, 0.5, 1.5]) / 5) ** 2 * [np.var(np.log(v), ddof=1) / 2 for v in WIDTHS.values()]
    half = stats.t.ppf(0.975, parts.sum() ** 2 / np.sum(parts**2)) * math.sqrt(parts.sum())
    assert (trend.lo, trend.hi) == pytest.approx((1 - math.exp(line.slope + half), 1 - math.exp(line.slope - half)))
    assert trend.extra["verdict"] == "supported"
    logs = [np.log(values) for values in norms.values()]
    assert shift.estimate == pytest.approx(math.exp(logs[0].mean() - logs[3].mean()) - 1)
    limits = [stats.ttest_ind(v, logs[3], equal_var=False).confidence_interval(0.95 ** (1 / 3)) for v in logs[:3]]
    assert shift.hi == pytest.approx(math.exp(max(max(-each.low, each.high) for each in limits)) - 1)
    assert (shift.extra["base"], shift.extra["largest"]) == (512, 64)
    assert shift.extra["verdict"] == ("supported" if shift.hi < 0.13 else "inconclusive")
    assert math.isnan(shift.p)


def test_a_width_that_slows_refutes_the_trend(make_frames, make_run):
    slower = dict(zip(WIDTHS, reversed(WIDTHS.values()), strict=True))
    found = answers(make_frames(sweep(make_run, "width", slower)))["width", "trend"]
    assert found.p > 0.99
    assert found.extra["verdict"] == "refuted"


def test_a_reversal_beyond_noise_refutes_a_fall_that_is_one_on_the_whole(make_frames, make_run):
    rates = {64: (40.0, 40.5), 128: (25.0, 25.3), 256: (33.0, 33.4), 512: (20.0, 20.2)}
    trend = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
    assert trend.estimate > 0  # the slope is a fall, and not surely none
    assert trend.hi > 0
    assert trend.extra["verdict"] == "refuted"


def test_without_the_default_the_middle_width_is_what_others_are_compared_with(make_frames, make_run):
    norms = {64: (1.05, 1.04), 128: (1.0, 1.01), 256: (1.02, 1.01)}
    rates = {width: WIDTHS[width] for width in norms}
    shift = answers(make_frames(sweep(make_run, "width", rates, norms)))["width", "fn_shift"]
    assert (shift.extra["base"], shift.extra["largest"]) == (128, 64)


def test_single_runs_have_a_trend_but_no_bound(make_frames, make_run):
    rates = {width: seeds[:1] for width, seeds in WIDTHS.items()}
    found = answers(make_frames(sweep(make_run, "width", rates)))
    assert found["width", "trend"].p == pytest.approx(1 / 24)
    assert found["width", "fn_shift"].status == "not_testable"
    assert math.isnan(found["width", "fn_shift"].hi)


def test_equal_onsets_at_every_width_have_no_trend(make_frames, make_run):
    trend = answers(make_frames(sweep(make_run, "width", dict.fromkeys(WIDTHS, (20.0, 20.0)))))["width", "trend"]
    assert (trend.status, trend.extra["verdict"]) == ("zero_variance", "not testable")
    assert "agree exactly" in trend.warnings[0]
    assert math.isnan(trend.p)


def test_censored_widths_take_part(make_frames, make_run):
    rates = {64: (90.0, 90.0), 128: (31.0, 30.5), 256: (26.0, 27.0)}
    found = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
    assert (found.n_runs, found.n_censored) == (6, 2)
    assert found.p == pytest.approx(1 / 90)


ACTIVATIONS = {"relu": (20.0, 21.0, 20.5, 20.2), "gelu": (26.0, 27.0, 26.5, 26.2), "tanh": (33.0, 34.0, 33.5, 33.2)}


def test_activation_needs_both_to_differ(make_frames, make_run):
    norms = {"relu": (1.0, 1.01, 1.02, 1.0), "gelu": (2.0, 2.01, 2.02, 2.1), "tanh": (1.4, 1.41, 1.42, 1.4)}
    found = answers(make_frames(sweep(make_run, "activation", ACTIVATIONS, norms)))
    speed, norm, joint = (found["activation", name] for name in ("speed", "fn_star", "joint"))
    assert joint.p == max(speed.p, norm.p)
    for result, seeds in ((speed, ACTIVATIONS), (norm, norms)):
        means = [np.log(values).mean() for values in seeds.values()]
        assert result.estimate == pytest.approx(math.exp(max(means) - min(means)))
    assert joint.extra["verdict"] == "supported"
    assert "p_holm" not in speed.extra
    welch = stats.ttest_ind(*(np.log(ACTIVATIONS[name]) for name in ("gelu", "relu")), equal_var=False)
    pair = next(pair for pair in speed.extra["pairs"] if pair["of"] == ["relu", "gelu"])
    assert pair["p"] == pytest.approx(welch.pvalue)
    alike = dict.fromkeys(ACTIVATIONS, (1.0, 1.1, 1.2, 1.3))
    found = answers(make_frames(sweep(make_run, "activation", ACTIVATIONS, alike)))
    assert found["activation", "joint"].extra["verdict"] == "inconclusive"


def test_three_against_three_cannot_be_shown_by_design(make_frames, make_run):
    rates = {name: seeds[:3] for name, seeds in list(ACTIVATIONS.items())[:2]}
    norms = {"relu": (1.0, 1.01, 1.02), "gelu": (2.0, 2.01, 2.02)}
    frames = make_frames(sweep(make_run, "activation", rates, norms))
    joint = answers(frames)["activation", "joint"]
    assert joint.p == joint.extra["p_min"] == pytest.approx(0.1)
    assert "cannot be shown by design" in joint.warnings[0]
    at_nine_in_ten = answers(frames, level=0.9)["activation", "joint"]
    assert (at_nine_in_ten.extra["alpha"], at_nine_in_ten.extra["verdict"]) == (0.1, "supported")
    assert "by design" not in " ".join(at_nine_in_ten.warnings)


def test_two_runs_each_at_a_confidence_beyond_numbers_have_no_limits_and_no_error(make_frames, make_run):
    """With one quiet value Welch's t has one degree of freedom, and is 6366 at 99.99 %."""
    frames = make_frames(sweep(make_run, "activation", {"relu": (20.0, 20.01), "tanh": (20.0, 30.0)}))
    (pair,) = answers(frames, level=0.9999)["activation", "speed"].extra["pairs"]
    assert (pair["lo"], pair["hi"]) == (0, math.inf)


def test_an_activation_that_never_collapses_leaves_fn_star_open(make_frames, make_run):
    rates = {"relu": (20.0, 21.0), "tanh": (90.0, 90.0)}
    found = answers(make_frames(sweep(make_run, "activation", rates)))
    assert not math.isnan(found["activation", "speed"].p)
    said = (
        "enter with the budget, so changes of the onset are understated, and a value whose runs vary more seems earlier"
    )
    assert said in found["activation", "speed"].warnings[0]
    assert found["activation", "joint"].status == "not_testable"
    assert math.isnan(found["activation", "joint"].extra["p_min"])
    assert "onsets by activation: relu: 2, tanh: 0" in found["activation", "joint"].warnings[0]


def test_all_tested_claims_are_one_family(make_frames, make_run):
    runs = {
        **sweep(make_run, "depth", VALLEY),
        **sweep(make_run, "width", WIDTHS, dataset="cifar10"),
        **sweep(make_run, "weight_decay", DECAYS, dataset="digits"),
    }
    found = answers(make_frames(runs))
    claims = [result for result in found.values() if result.quantity in CLAIMS]
    tested = [result for result in claims if not math.isnan(result.p)]
    assert {result.extra["family"] for result in claims} == {len(tested)} == {5}
    corrected = holm(np.array([result.p for result in tested]))
    assert [result.extra["p_holm"] for result in tested] == pytest.approx(corrected.tolist())


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ({"a": {"width": 64}, "b": {"width": 64}}, "all runs have one width (64)"),
        ({"a": {"width": 64}, "b": {"width": 128, "lr": 0.5}}, "no two runs differ in their width alone"),
        ({"a": {"width": None}}, "no run says its width"),
        ({}, "no run says its width"),
    ],
)
def test_a_factor_that_does_not_vary_says_what_it_takes(make_frames, make_run, runs, says):
    found = answers(make_frames({name: make_run(**about) for name, about in runs.items()}))["width", "trend"]
    assert found.status == "not_testable"
    assert says in found.warnings[0]
    assert "three widths" in found.warnings[0]
    assert math.isnan(found.p)


@pytest.mark.slow
def test_the_family_of_a_world_without_effects_is_quiet(make_frames, make_run):
    rng = np.random.default_rng(6)
    loud, worlds = 0, 60
    for _ in range(worlds):
        rates = rng.lognormal(math.log(25), 0.1, (4, 3))
        rows = {value: rates[number] for number, value in enumerate((1e-5, 1e-4, 5e-4, 1e-3))}
        frames = make_frames(sweep(make_run, "weight_decay", rows))
        loud += any(result.extra.get("verdict") == "supported" for result in answers(frames).values())
    assert loud <= 8  # at 5 % of 60 worlds, 8 or more have a chance below 1 %
