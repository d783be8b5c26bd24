import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from forecast_worlds import EMPTY, exponential, world
from scipy import stats

from ncdiag.domain.forecast import forecast_onset
from ncdiag.domain.landmark import CalibrationRun, CensoredRun
from ncdiag.domain.prediction import Predictions
from ncdiag.domain.statistics import Interval


def bare(onset, condition=0):
    """A run of which only the onset is known, so that only the median can be used."""
    return CalibrationRun(course=EMPTY, condition=condition, onset=onset, feature_norm=math.nan)


def forecast(runs, censored_at=(), *, now=10.0, level=0.8, condition=0):
    ended = [CensoredRun(end=end, condition=7) for end in censored_at]
    return forecast_onset("mine", EMPTY, condition, runs, ended, now=now, metric="nc1", eps=0.01, level=level)


def test_the_t_interval_is_around_the_median_of_the_others():
    """With LOO medians of three values, which are means of two, the interval is the textbook one exactly."""
    onsets = [math.exp(5.0), math.exp(5.2), math.exp(5.4)]
    found = forecast([bare(onset) for onset in onsets])
    held = [np.mean([onsets[1], onsets[2]]), np.mean([onsets[0], onsets[2]]), np.mean([onsets[0], onsets[1]])]
    errors = np.log(onsets) - np.log(held)
    half = stats.t.ppf(0.9, 2) * math.sqrt((errors**2).sum() / 2) * (2 / 3) * math.sqrt(4 / 3)
    assert found.onset == pytest.approx(math.exp(5.2))
    assert (found.lo, found.hi) == pytest.approx((math.exp(5.2 - half), math.exp(5.2 + half)))
    assert (found.status, found.rule, found.n_calibration) == ("forecast", "median", 3)
    assert "model-based" in found.method


def test_nine_runs_have_a_distribution_free_interval():
    rng = np.random.default_rng(0)
    onsets = np.sort(np.exp(5 + 0.2 * rng.normal(size=9)))
    found = forecast([bare(onset) for onset in onsets])
    held = np.array([np.median(np.delete(onsets, i)) for i in range(9)])
    errors = np.abs(np.log(onsets / held))
    assert found.lo == pytest.approx(math.exp(np.sort(np.log(held) - errors)[1]))
    assert found.hi == pytest.approx(math.exp(np.sort(np.log(held) + errors)[7]))
    assert "jackknife+" in found.method


def test_a_level_that_nine_runs_cannot_give_falls_back_to_t():
    onsets = np.exp(5 + 0.2 * np.random.default_rng(0).normal(size=9))
    found = forecast([bare(onset) for onset in onsets], level=0.95)
    assert "model-based" in found.method
    assert math.isfinite(found.hi)


@pytest.mark.parametrize("ended", [0, 1, 5])
@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("count", [4, 9, 12, 19, 24])
def test_an_interval_holds_those_of_lower_levels(count, seeds, ended):
    """Also where jackknife+ gives the lower ones and t the higher ones, and where some runs ended without an onset."""
    rng = np.random.default_rng(count)
    for _ in range(20):
        made = Predictions(
            logs=np.array([5.0]),
            errors=0.2 * rng.normal(size=count * seeds),
            onset=np.exp(5 + 0.2 * rng.normal(size=count * seeds)),
            condition=np.repeat(np.arange(count), seeds),
            fitted=5 + 0.1 * rng.normal(size=(count * seeds, 1)),
            of_median=False,
        )
        ends = np.exp(5 + 0.4 * rng.normal(size=ended)).tolist()
        censored = [CensoredRun(end=end, condition=unit) for unit, end in enumerate(ends, start=count - 1)]
        levels = np.arange(0.5, 0.99, 0.02).tolist()
        found = [made.limits(level, censored, by_condition=seeds > 1)[0][0] for level in levels]
        for lower, higher in pairwise(found):
            assert higher.lo <= lower.lo
            assert lower.hi <= higher.hi


def test_a_new_condition_has_a_two_level_interval():
    logs = np.array([[5.0, 5.02], [5.3, 5.28], [5.6, 5.62], [5.9, 5.94]])
    runs = [bare(math.exp(value), condition) for condition, row in enumerate(logs) for value in row]
    known, new = (forecast(runs, condition=condition) for condition in (0, 9))
    assert "two-level" in new.method
    assert "two-level" not in known.method
    assert new.hi / new.lo > known.hi / known.lo
    assert any("differ from the 4 others as they differ from one another" in warning for warning in new.warnings)
    assert not any("differ from one another" in warning for warning in known.warnings)


def test_the_errors_of_a_winner_stand_as_they_are_for_a_new_condition():
    """A rule that reads the run is no mean of the others, whose held-out errors would be k / (k - 1) too large."""
    table = np.array([[0.30, 0.34], [-0.22, -0.18], [0.10, 0.12], [-0.06, -0.14]])
    means, within = table.mean(axis=1), table.var(axis=1, ddof=1).mean()
    made = Predictions(
        logs=np.array([5.0]),
        errors=table.ravel(),
        onset=np.full(8, 150.0),
        condition=np.repeat(np.arange(4), 2),
        fitted=np.full((8, 1), 5.0),
        of_median=False,
    )
    (limits,), method = made.limits(0.8, (), by_condition=True)
    half = stats.t.ppf(0.9, 3) * math.sqrt((means**2).sum() / 3 + within * (1 - 1 / 2))
    assert (math.log(limits.lo), math.log(limits.hi)) == pytest.approx((5 - half, 5 + half))
    assert method == "two-level t interval (model-based)"


def test_nine_conditions_have_a_distribution_free_interval_of_a_new_one():
    """Two seeds to a condition: an interval from 18 runs, of nine conditions that weigh a tenth each."""
    rng = np.random.default_rng(2)
    onsets = np.exp(np.repeat(5 + 0.2 * rng.normal(size=9), 2) + 0.02 * rng.normal(size=18))
    condition = np.repeat(np.arange(9), 2)
    found = forecast(
        [bare(onset, unit) for onset, unit in zip(onsets.tolist(), condition.tolist(), strict=True)], condition=9
    )
    held = np.array([np.median(onsets[condition != unit]) for unit in condition])
    errors = np.abs(np.log(onsets / held))
    assert found.lo == pytest.approx(math.exp(np.sort(np.log(held) - errors)[2]))  # two of 18 weigh a tenth
    assert found.hi == pytest.approx(math.exp(np.sort(np.log(held) + errors)[15]))
    assert "two-level jackknife+" in found.method


def test_a_condition_that_never_collapsed_opens_the_upper_limit_at_high_levels_only():
    rng = np.random.default_rng(2)
    runs = [bare(math.exp(5 + 0.2 * rng.normal()), unit) for unit in range(9) for _ in range(2)]
    found = {level: forecast(runs, [400.0, 400.0], condition=9, level=level) for level in (0.8, 0.9)}
    assert math.isfinite(found[0.8].hi)
    assert found[0.9].hi == math.inf


@pytest.mark.parametrize(
    ("seeds", "of", "method"),
    [
        ((2, 1), 9, "no interval"),  # a new condition, and two that say too little of how much conditions differ
        ((2, 2, 2), 9, "two-level t interval (model-based)"),
        ((20, 1), 1, "no interval"),  # of one condition all seeds but one are known, of the other this one alone
        ((10, 10, 1), 2, "two-level t interval (model-based)"),
        ((4, 4, 2), 2, "jackknife+ interval"),  # about as many as of the others
        ((3,), 0, "t interval (model-based)"),
    ],
)
def test_the_interval_is_one_for_a_new_condition_unless_the_own_is_known_as_well_as_the_others(seeds, of, method):
    rng = np.random.default_rng(1)
    runs = [bare(100.0 + 20 * unit + rng.normal(), unit) for unit, count in enumerate(seeds) for _ in range(count)]
    found = forecast(runs, condition=of)
    assert found.method.endswith(f", {method}")
    assert math.isnan(found.lo) == math.isnan(found.hi) == (method == "no interval")
    own = {0: "no other run", 1: "only 1 other run", 2: "only 2 other runs"}
    said = " ".join(found.warnings)
    assert (f"{own.get(dict(enumerate(seeds)).get(of, 0))} of this condition" in said) == (
        "two" in method or "no" in method
    )


def test_runs_that_never_collapsed_leave_the_upper_limit_open():
    runs = [bare(onset) for onset in (100.0, 110.0, 130.0, 125.0)]
    closed, opened = forecast(runs), forecast(runs, [400.0])
    assert math.isfinite(closed.hi)
    assert opened.hi == math.inf
    assert opened.lo == closed.lo
    expected = stats.binomtest(1, 5).proportion_ci(0.8, "exact")
    assert (opened.p_no_collapse, opened.n_censored) == (0.2, 1)
    assert (opened.p_no_collapse_lo, opened.p_no_collapse_hi) == pytest.approx((expected.low, expected.high))


def test_a_t_interval_stays_closed_as_long_as_its_upper_tail_holds_those_that_never_collapsed():
    """One of eight is more than the tenth above an interval of 80 %, and less than the 15 % above one of 70 %."""
    runs = [bare(onset) for onset in (100.0, 110.0, 130.0, 125.0, 105.0, 115.0, 120.0)]
    assert forecast(runs, [400.0], level=0.8).hi == math.inf
    assert math.isfinite(forecast(runs, [400.0], level=0.7).hi)


def test_an_onset_at_this_very_epoch_is_none_that_lies_ahead():
    """The published rule has onsets at logged epochs, where a run that is asked about has just been evaluated, too."""
    found = forecast([bare(10.0), bare(100.0), bare(120.0)], now=10.0)
    assert (found.n_calibration, found.onset) == (2, pytest.approx(110.0))


def test_limits_that_miss_the_forecast_are_moved_to_it(monkeypatch):
    """Limits are made of forecasts without a run each, by rules that may all say earlier, or later, than the winner."""
    runs = [bare(onset) for onset in (100.0, 110.0, 130.0)]
    for limits in (Interval(lo=20.0, hi=90.0), Interval(lo=140.0, hi=150.0)):
        monkeypatch.setattr(Predictions, "limits", lambda *_, limits=limits, **__: ([limits], "made up"))
        found = forecast(runs)
        assert (found.lo, found.hi) == (min(limits.lo, found.onset), max(limits.hi, found.onset))


def test_one_censored_run_of_many_moves_the_upper_limit_of_jackknife_alone():
    """The limit has as much below it as one has without the run, and twice its weight, for errors have two sides."""
    onsets = np.exp(5 + 0.2 * np.random.default_rng(1).normal(size=18))
    found, without = (forecast([bare(onset) for onset in onsets], never) for never in ([400.0], []))
    held = np.array([np.median(np.delete(onsets, i)) for i in range(18)])
    above = np.sort(np.log(held) + np.abs(np.log(onsets / held)))
    assert found.hi == pytest.approx(math.exp(above[math.ceil(0.8 * 20 + 1) - 1]))
    assert (found.lo, found.method) == (without.lo, without.method)
    assert found.hi > without.hi


def test_runs_that_ended_before_any_onset_say_nothing():
    """Their budget was too short for any other run too: they take no limit away, and count as no share."""
    runs = [bare(onset) for onset in (79.0, 50.0, 62.0, 73.0, 68.0)]
    found, without = forecast(runs, [30.0, 30.0, 49.0]), forecast(runs)
    said = "3 other runs ended without a collapse before the last of the others collapsed, and count only as far as"
    assert any(said in warning for warning in found.warnings)
    assert replace(found, warnings=()) == replace(without, warnings=())
    assert math.isfinite(found.hi)


def test_no_upper_limit_rests_on_the_few_that_went_on():
    """Eight of ten ended among the first onsets; the two that went on say about when, but not for all the others."""
    runs = [bare(onset) for onset in (50.0, 52.0, 55.0, 80.0)]
    few, more = forecast(runs, [53.0] * 8), forecast(runs, [53.0] * 2)
    assert (few.hi, few.n_censored, few.p_no_collapse) == (math.inf, 0, 0)
    assert math.isfinite(more.hi)
    assert (few.lo, more.lo) == (more.lo, forecast(runs).lo)


def test_the_share_that_does_not_collapse_is_that_of_kaplan_and_meier():
    """Of six left at 60 two more collapse and one lasts: two of the five that go on, where the first had six of ten."""
    runs = [bare(onset) for onset in (50.0, 52.0, 54.0, 56.0, 70.0, 75.0)]
    found = forecast(runs, [60.0, 60.0, 60.0, 120.0])
    share = (1 - 4 / 10) * (1 - 1 / 3) * (1 - 1 / 2)
    weights = np.array([1.0] * 4 + [2.0] * 3)  # the three that ended left their weight to the three that went on
    n = weights.sum() ** 2 / (weights**2).sum()
    limits = [stats.beta.ppf(0.1, share * n, n - share * n + 1), stats.beta.ppf(0.9, share * n + 1, n - share * n)]
    assert (found.p_no_collapse, found.n_censored, found.censored_end) == (pytest.approx(share), 1, 120.0)
    assert [found.p_no_collapse_lo, found.p_no_collapse_hi] == pytest.approx(limits)
    assert found.hi == math.inf
    assert forecast(runs, [60.0, 60.0, 60.0]).p_no_collapse == 0
    assert math.isfinite(forecast(runs, [60.0, 60.0, 60.0]).hi)


def test_an_open_interval_begins_where_that_of_the_runs_that_collapsed_does():
    """Were the eight of twenty an infinite error on both sides, nothing but now would be left below."""
    onsets = np.exp(5 + 0.2 * np.random.default_rng(3).normal(size=12))
    closed, opened = (forecast([bare(onset) for onset in onsets], never) for never in ([], [400.0] * 8))
    assert (opened.lo, opened.hi) == (closed.lo, math.inf)
    assert (opened.method, closed.hi < math.inf) == (closed.method, True)
    few = forecast([bare(onset) for onset in onsets[:6]], [400.0] * 8)
    assert few.lo == forecast([bare(onset) for onset in onsets[:6]]).lo > 10
    assert "model-based" in few.method  # fourteen runs, but six that say when


def test_the_share_that_never_collapsed_is_as_sure_as_its_conditions_are_many():
    runs = [bare(100.0 + 10 * condition + seed, condition) for condition in range(3) for seed in range(5)]
    found = forecast(runs, [400.0] * 5)  # of condition 7
    expected = stats.binomtest(1, 4).proportion_ci(0.8, "exact")
    assert (found.p_no_collapse, found.n_censored) == (0.25, 5)
    assert (found.p_no_collapse_lo, found.p_no_collapse_hi) == pytest.approx((expected.low, expected.high))


def test_runs_without_an_onset_are_all_that_is_known_where_none_collapsed():
    found = forecast([], [300.0, 600.0], now=100.0)
    assert (found.status, found.n_censored, found.censored_end, found.p_no_collapse) == ("insufficient", 2, 600.0, 1.0)


def test_runs_censored_before_now_say_nothing():
    found = forecast([bare(100.0), bare(120.0), bare(130.0)], [40.0, 60.0], now=60.0)
    assert (found.n_censored, found.p_no_collapse) == (0, 0)


def test_limits_are_never_before_now():
    found = forecast([bare(100.0), bare(400.0), bare(101.0)], now=99.0)
    assert found.lo == 99
    assert found.lo <= found.onset <= found.hi


def test_too_few_runs_at_risk_are_named():
    found = forecast([bare(50.0), bare(60.0), bare(500.0)], [600.0], now=100.0)
    assert found.status == "insufficient"
    assert "1 other run of the pair collapsed after epoch 100" in found.message
    assert "needs 2 (2 had collapsed by then, 1 went on without a collapse)" in found.message
    assert math.isnan(found.onset)
    assert found.p_no_collapse == 0.5
    others = forecast([], [60.0, 100.0], now=100.0).message
    assert "(0 had collapsed by then, 0 went on without a collapse, 2 had ended without one)" in others


def test_runs_that_agree_exactly_give_no_interval():
    found = forecast([bare(660.0)] * 3)
    assert found.onset == pytest.approx(660)
    assert math.isnan(found.lo)
    assert math.isnan(found.hi)
    assert any("without any error" in warning for warning in found.warnings)


def test_the_dictionary_is_plain_and_names_every_rule():
    found = forecast([bare(100.0), bare(120.0), bare(130.0)], [400.0]).to_dict()
    assert found["hi"] == math.inf
    assert [entry["rule"] for entry in found["rules"]] == ["median"]
    assert set(found["rules"][0]) == {"rule", "onset", "mae"}


def test_the_winner_is_named_with_its_rivals():
    runs = [exponential(rate) for rate in (40.0, 55.0, 63.0, 78.0, 90.0)]
    target = exponential(70).course
    found = forecast_onset("r", target, 0, runs, [], now=120.0, metric="nc1", eps=0.01, level=0.8)
    assert found.onset == pytest.approx(70 * math.log(100), rel=1e-3)
    assert found.rules[0].rule == found.rule
    assert {"median", "fn", "nc1 level", "mean"} <= {score.rule for score in found.rules}
    guess = next(score for score in found.rules if score.rule == "median")
    onsets = np.array([40.0, 55.0, 63.0, 78.0, 90.0]) * math.log(100)
    assert guess.mae == pytest.approx(np.mean([abs(np.median(np.delete(onsets, i)) - onsets[i]) for i in range(5)]))
    assert found.baseline_mae == guess.mae
    assert found.mae_selected == found.rules[0].mae


def test_the_runner_up_says_something_else():
    runs = world(np.random.default_rng(0), "nc1", [0] * 8)
    found = forecast_onset("r", runs[0].course, 0, runs[1:], [], now=100.0, metric="nc1", eps=0.01, level=0.8)
    onsets = {score.rule: score.onset for score in found.rules}
    assert found.runner_up != found.rule
    assert abs(onsets[found.runner_up] / found.onset - 1) > 1e-9


def test_the_error_of_the_winner_is_that_of_winners_chosen_without_each_run():
    """In a world of a hidden clock the rule that is picked afterwards looks better than it is."""
    rng, flattered, honest = np.random.default_rng(1), [], []
    for _ in range(10):
        runs = world(rng, "clock", [0] * 7)
        found = forecast_onset("r", runs[0].course, 0, runs[1:], [], now=80.0, metric="nc1", eps=0.01, level=0.8)
        if found.status == "forecast":
            flattered.append(found.mae_selected)
            honest.append(found.mae)
            warned = any("no better on the other runs than guessing" in warning for warning in found.warnings)
            assert warned == (found.mae >= found.baseline_mae and found.rule != "median")
    assert np.mean(honest) > np.mean(flattered)


def coverage(kind, conditions, *, now, level, pairs, seed):
    """The share of pairs whose first run, at risk at `now`, has its onset within the forecast from the others."""
    rng, covered, errors, guesses = np.random.default_rng(seed), [], [], []
    for _ in range(pairs):
        target, *others = world(rng, kind, conditions)
        if not target.onset > now:
            continue
        found = forecast_onset(
            "r", target.course, target.condition, others, [], now=now, metric="nc1", eps=0.01, level=level
        )
        if found.status == "forecast":
            covered.append(found.lo <= target.onset <= found.hi)
            errors.append(abs(found.onset - target.onset))
            guesses.append(abs(next(score.onset for score in found.rules if score.rule == "median") - target.onset))
    return covered, float(np.mean(errors)), float(np.mean(guesses))


@pytest.mark.parametrize("kind", ["nc1", "fn"])
def test_the_interval_of_six_runs_covers_what_it_says(kind):
    covered, error, guess = coverage(kind, [0] * 7, now=100, level=0.8, pairs=60, seed=1)
    assert stats.binomtest(sum(covered), len(covered), 0.8).pvalue > 0.01
    assert error < 0.7 * guess  # a forecast worth making
