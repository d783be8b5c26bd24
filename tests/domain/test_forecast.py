import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.domain.forecast import forecast_onset
from ncdiag.domain.onset import OnsetRule, Trajectory, find_onset
from ncdiag.domain.predictor import CalibrationRun

EMPTY = Trajectory(epoch=np.empty(0), metric=np.empty(0))


def bare(onset, condition=0):
    """A run of which only the onset is known, so that only the median can be used."""
    return CalibrationRun(trajectory=EMPTY, condition=condition, onset=onset, feature_norm=math.nan)


def forecast(runs, censored_at=(), *, now=10.0, level=0.8, condition=0):
    return forecast_onset("mine", EMPTY, condition, runs, censored_at, now=now, eps=0.01, level=level)


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


def test_a_new_condition_has_a_two_level_interval():
    logs = np.array([[5.0, 5.02], [5.3, 5.28], [5.6, 5.62], [5.9, 5.94]])
    runs = [bare(math.exp(value), condition) for condition, row in enumerate(logs) for value in row]
    known, new = (forecast(runs, condition=condition) for condition in (0, 9))
    assert "two-level" in new.method
    assert "two-level" not in known.method
    assert new.hi / new.lo > known.hi / known.lo


def test_a_new_condition_beside_two_others_is_warned_about():
    found = forecast([bare(100.0, 0), bare(120.0, 0), bare(150.0, 1)], condition=9)
    assert any("no other run of this condition" in warning for warning in found.warnings)


def test_runs_that_never_collapsed_leave_the_upper_limit_open():
    runs = [bare(onset) for onset in (100.0, 110.0, 130.0, 125.0)]
    closed, opened = forecast(runs), forecast(runs, [400.0])
    assert math.isfinite(closed.hi)
    assert opened.hi == math.inf
    assert opened.lo == closed.lo
    expected = stats.binomtest(1, 5).proportion_ci(0.8, "exact")
    assert (opened.p_no_collapse, opened.n_censored) == (0.2, 1)
    assert (opened.p_no_collapse_lo, opened.p_no_collapse_hi) == pytest.approx((expected.low, expected.high))


def test_one_censored_run_of_many_leaves_jackknife_limits_finite():
    onsets = np.exp(5 + 0.2 * np.random.default_rng(1).normal(size=12))
    found = forecast([bare(onset) for onset in onsets], [400.0])
    assert math.isfinite(found.hi)
    assert found.hi >= forecast([bare(onset) for onset in onsets]).hi


def test_runs_censored_before_now_say_nothing():
    found = forecast([bare(100.0), bare(120.0), bare(130.0)], [40.0, 60.0], now=60.0)
    assert (found.n_censored, found.p_no_collapse) == (0, 0)


def test_limits_are_never_before_now():
    found = forecast([bare(100.0), bare(400.0), bare(101.0)], now=99.0)
    assert found.lo == 99
    assert found.lo <= found.onset <= found.hi


def test_too_few_runs_at_risk_are_named():
    found = forecast([bare(50.0), bare(60.0), bare(500.0)], [300.0], now=100.0)
    assert found.status == "insufficient"
    assert "1 other run of the pair collapsed after epoch 100" in found.message
    assert "needs 2 (2 had collapsed by then, 1 went on without a collapse)" in found.message
    assert math.isnan(found.onset)
    assert found.p_no_collapse == 0.5


def test_runs_that_agree_exactly_give_no_interval():
    found = forecast([bare(660.0)] * 3)
    assert found.onset == 660
    assert math.isnan(found.lo)
    assert math.isnan(found.hi)
    assert any("without any error" in warning for warning in found.warnings)


def test_the_dictionary_is_plain_and_names_every_rule():
    found = forecast([bare(100.0), bare(120.0), bare(130.0)], [400.0]).to_dict()
    assert found["hi"] == math.inf
    assert [entry["rule"] for entry in found["rules"]] == ["median"]
    assert set(found["rules"][0]) == {"rule", "onset", "mae"}


def simulate_pair(rng, world, conditions):
    """Runs whose NC1 follows fn down to fn* = 1.3 (causal), or falls by its own clock (clock), with noise."""
    epoch = np.arange(5, 601, 5.0)
    effect = {c: 0.2 * rng.normal() for c in set(conditions)}
    for condition in conditions:
        norm = 1 + 4 * np.exp(-epoch / (60 * math.exp(effect[condition] + 0.2 * rng.normal())))
        if world == "causal":
            log_nc1 = math.log(0.01) + 3 * (np.log(norm) - math.log(1.3) - 0.04 * rng.normal())
        else:
            log_nc1 = math.log(0.01) + 0.02 * (200 * math.exp(effect[condition] + 0.2 * rng.normal()) - epoch)
        nc1 = np.exp(log_nc1 + 0.05 * rng.normal(size=len(epoch)))
        yield Trajectory(epoch=epoch, metric=nc1, feature_norm=norm), condition


def coverage(world, conditions, *, now, level, pairs, seed):
    """The share of pairs whose first run, at risk at `now`, has its onset within the forecast from the others."""
    rng, rule, covered, errors, guesses = np.random.default_rng(seed), OnsetRule(), [], [], []
    for _ in range(pairs):
        runs = list(simulate_pair(rng, world, conditions))
        onsets = [find_onset(trajectory, rule) for trajectory, _ in runs]
        others = [
            CalibrationRun(trajectory=t, condition=c, onset=onset.epoch, feature_norm=onset.feature_norm)
            for (t, c), onset in zip(runs[1:], onsets[1:], strict=True)
            if onset.state == "collapsed"
        ]
        (target, condition), truth = runs[0], onsets[0].epoch
        if not truth > now:
            continue
        found = forecast_onset("r", target.until(now), condition, others, [], now=now, eps=0.01, level=level)
        if found.status == "forecast":
            covered.append(found.lo <= truth <= found.hi)
            errors.append(abs(found.onset - truth))
            guesses.append(abs(float(np.median([o.onset for o in others if o.onset > now])) - truth))
    return float(np.mean(covered)), float(np.mean(errors)), float(np.mean(guesses))


@pytest.mark.parametrize("world", ["causal", "clock"])
def test_the_interval_of_six_runs_covers_what_it_says(world):
    covers, error, guess = coverage(world, [0] * 6, now=100, level=0.8, pairs=200, seed=1)
    assert 0.7 < covers < 0.9
    assert error < 0.7 * guess  # a forecast worth making


@pytest.mark.slow
@pytest.mark.parametrize("world", ["causal", "clock"])
@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize(
    "conditions", [[0] * 4, [0] * 6, [0] * 11, [0, 1, 1, 2, 2, 3, 3], [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]], ids=str
)
@pytest.mark.parametrize("now", [40, 150])
def test_intervals_cover_in_every_world(world, level, conditions, now):
    """Short of the level by at most 10 points (3 runs), above it where few conditions make the interval cautious."""
    covers, _, _ = coverage(world, conditions, now=now, level=level, pairs=400, seed=2)
    assert level - 0.1 < covers < level + 0.8 * (1 - level)
