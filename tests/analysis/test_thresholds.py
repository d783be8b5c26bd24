import math

import numpy as np
import pytest
from scipy import stats

from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.thresholds import threshold_results
from ncdiag.analysis.trajectories import trajectories
from ncdiag.domain.onset_rule import OnsetRule
from ncdiag.errors import AnalysisError


def results_of(frames, rule=None, **options):
    rule = rule or OnsetRule()
    return threshold_results(
        onset_table(*frames, rule), trajectories(frames[1], rule.metric), Terms(rule=rule, **options)
    )


def conditions(make_run, norms):
    """Runs whose fn at onset is known: one row of `norms` per condition, told apart by the weight decay."""
    return {
        f"{row}-{seed}": make_run(20.0 + seed, norm=norm, weight_decay=10.0**-row)
        for row, seeds in enumerate(norms)
        for seed, norm in enumerate(seeds)
    }


def test_each_pair_has_a_threshold_and_a_spread(make_frames, make_run):
    runs = {"a": make_run(), "b": make_run(dataset="cifar10"), "c": make_run(25.0)}
    found = results_of(make_frames(runs))
    assert [(r.quantity, r.group["dataset"], r.n_runs) for r in found] == [
        ("fn_star", "mnist", 2),
        ("cv", "mnist", 2),
        ("fn_star", "cifar10", 1),
        ("cv", "cifar10", 1),
    ]


def test_fn_star_is_the_mean_over_conditions_with_their_interval(make_frames, make_run):
    norms = np.array([[1.0, 1.1], [1.3, 1.2], [0.9, 1.0]])
    fn_star, cv = results_of(make_frames(conditions(make_run, norms)), level=0.9)
    means = np.log(norms).mean(1)
    expected = stats.ttest_1samp(means, 0).confidence_interval(0.9)
    assert fn_star.estimate == pytest.approx(math.exp(means.mean()))
    assert (fn_star.lo, fn_star.hi) == pytest.approx((math.exp(expected.low), math.exp(expected.high)))
    assert (fn_star.n_runs, fn_star.n_conditions, fn_star.level, fn_star.status) == (6, 3, 0.9, "ok")
    assert fn_star.extra["sd"] == pytest.approx(norms.std(ddof=1))
    assert fn_star.extra["cv"] == pytest.approx(norms.std(ddof=1) / norms.mean())
    assert fn_star.extra["cv_upper"] == cv.extra["cv_upper"] > cv.hi * 0.5
    within = np.log(norms).var(axis=1, ddof=1).mean()
    between = means.var(ddof=1) - within / 2  # a mean of two seeds has half of their variance
    assert cv.estimate == pytest.approx(math.sqrt(math.expm1(between + within)))
    assert cv.extra["cv_conditions"] == pytest.approx(math.sqrt(math.expm1(between)))
    assert cv.extra["icc"] == pytest.approx(between / (between + within))
    each = fn_star.extra["conditions"]
    assert [entry["fn_star"] for entry in each] == pytest.approx(np.exp(means).tolist())
    assert each[0]["condition"] == "weight_decay=1"
    assert fn_star.extra["t_min"] == pytest.approx(20 * math.log(100))
    assert fn_star.extra["t_median"] == pytest.approx(20.5 * math.log(100))
    assert fn_star.extra["t_max"] == pytest.approx(21 * math.log(100))
    assert (fn_star.extra["phase"], fn_star.extra["loss"]) == (1, "mse")


@pytest.mark.parametrize(
    ("norms", "says", "over", "bounds"),
    [
        ([[1.0]], "one run collapsed", "the norm of one run", "chi-square"),
        ([[1.0, 1.1, 1.2]], "one condition", "over 3 runs", "chi-square"),
        ([[1.0, 1.1], [1.2, 1.0]], "2 conditions", "over 4 runs", "Graybill and Wang"),
        ([[1.0, 1.1], [1.2, 1.0], [1.1, 1.1]], "", "over 3 condition means", "Graybill and Wang"),
    ],
)
def test_few_conditions_are_no_claim_about_invariance(make_frames, make_run, norms, says, over, bounds):
    fn_star, cv = results_of(make_frames(conditions(make_run, norms)))
    assert any(says in warning for warning in fn_star.warnings) or not (says or fn_star.warnings)
    assert fn_star.method.endswith(over)
    assert bounds in cv.method


def test_a_run_that_stopped_early_leaves_the_median_between_its_limits(make_frames, make_run):
    """Its end shortens the budget of the mean, but says nothing against the onsets of the others."""
    runs = {f"{rate:g}": make_run(rate) for rate in (18.0, 20.0, 22.0, 24.0)} | {"short": make_run(20.0, epochs=50)}
    (condition,) = results_of(make_frames(runs))[0].extra["conditions"]
    onsets = np.array([18, 20, 22, 24]) * math.log(100)
    assert condition["median"] == pytest.approx((onsets[1] + onsets[2]) / 2)
    assert (condition["median_lo"], condition["median_hi"], condition["median_level"]) == (50, math.inf, 0.9375)
    assert (condition["rmst"], condition["budget"]) == (50, 50)
    assert condition["onset"] == pytest.approx(onsets.mean())
    runs |= {"short": make_run(90.0, epochs=90), "long": make_run(90.0, epochs=95)}
    (condition,) = results_of(make_frames(runs))[0].extra["conditions"]
    assert condition["budget"] == 90  # until which all of them were followed
    assert condition["rmst"] == pytest.approx(np.minimum([*onsets, 90, 95], 90).mean())


def test_a_small_sample_cv_is_no_claim_of_a_small_cv(make_frames, make_run):
    cv = results_of(make_frames(conditions(make_run, [[0.95, 1.0, 1.05]])))[1]
    assert cv.extra["verdict"] == "inconclusive"
    variance = np.log([0.95, 1.0, 1.05]).var(ddof=1)
    limits = np.sqrt(np.expm1(2 * variance / stats.chi2.ppf([0.975, 0.025], 2)))
    assert [cv.lo, cv.hi] == pytest.approx(limits)
    assert cv.extra["cv_upper"] == pytest.approx(math.sqrt(math.expm1(2 * variance / stats.chi2.ppf(0.05, 2))))
    assert any("cannot be claimed with 3 runs of 1 condition (upper bound 22.4%" in text for text in cv.warnings)
    assert any("needs a sample CV below 1.81%" in text for text in cv.warnings)


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [
        ([[1.0, 1.001, 1.002]], "supported"),
        ([[1.0, 2.0, 3.0, 5.0, 0.5]], "refuted"),
        ([[1.0, 1.001]], "not testable"),
        ([[1.0, 1.0, 1.0]], "not testable"),
    ],
)
def test_the_bounds_of_the_cv_decide(make_frames, make_run, norms, verdict):
    runs = {f"{i}": make_run(20.0, norm=norm) for i, norm in enumerate(norms[0])}
    assert results_of(make_frames(runs))[1].extra["verdict"] == verdict


@pytest.mark.parametrize(("p", "verdict"), [(0.04, "refuted"), (0.06, "inconclusive"), (0.94, "inconclusive")])
def test_a_cv_above_the_claim_is_a_one_sided_matter(make_frames, make_run, p, verdict):
    """Oracle: five norms whose variance has just this chi-square p of being no larger than that of a CV of 8 %."""
    pattern = np.array([-1.0, -0.5, 0.1, 0.4, 1.0])
    sd = math.sqrt(math.log1p(0.08**2) * stats.chi2.isf(p, 4) / 4)
    logs = (pattern - pattern.mean()) / pattern.std(ddof=1) * sd
    cv = results_of(make_frames(conditions(make_run, [np.exp(logs).tolist()])))[1]
    assert cv.extra["p_above"] == pytest.approx(p, rel=1e-3)
    assert cv.extra["verdict"] == verdict
    assert (cv.extra["cv_lower"] > 0.08) == (verdict == "refuted")


def test_equal_norms_are_zero_variance(make_frames, make_run):
    fn_star, cv = results_of(make_frames({str(i): make_run() for i in range(3)}))
    assert (fn_star.status, cv.estimate) == ("zero_variance", 0)
    assert math.isnan(fn_star.lo)
    assert math.isnan(cv.extra["cv_upper"])


def test_every_run_is_counted_where_it_belongs(make_frames, make_run):
    short = make_run(20.0, epochs=93)  # the onset is at 92.1: one evaluation below eps, and the end
    runs = {
        "collapsed": make_run(norm=2.0),
        "censored": make_run(90.0),
        "crossed": make_run(90.0, norm=2.0),
        "unconfirmed": short,
        "left": make_run(0.1),
        "diverged": make_run(90.0, status="diverged"),
        "dead": make_run(90.0, status="dead"),
        "pending": {"status": "pending"},
    }
    fn_star = results_of(make_frames(runs))[0]
    assert (fn_star.n_runs, fn_star.n_censored, fn_star.estimate) == (7, 3, pytest.approx(2))
    names = ("collapsed", "unconfirmed", "left_censored", "diverged", "dead", "no_data")
    assert [fn_star.extra[f"n_{name}"] for name in names] == [1, 1, 1, 1, 1, 1]
    assert fn_star.extra["n_censored_crossed"] == 2
    assert fn_star.extra["direction"] == "falls"


FALLING, RISING = [4.0, 3.0, 2.5, 2.0, 2.0], [1.0, 1.5, 1.8, 2.0, 2.0]  # fn* is 2: NC1 is below eps from epoch 4 on


@pytest.mark.parametrize(
    ("collapsed", "norms", "crosses"),
    [
        (FALLING, [4.0, 3.0, 2.5, 2.2, 2.1], False),
        (FALLING, [4.0, 3.0, 1.9, 2.2, 2.1], True),
        (FALLING, [1.0, 1.1, 2.5, 3.0, 3.5], False),  # it begins below, and leaves
        (FALLING, [1.0, 3.0, 2.5, 2.2, 1.9], True),
        (FALLING, [1.9, 1.8, 1.7, 1.6, 1.5], True),  # it fell before it was first evaluated
        (FALLING, [math.nan] * 5, False),
        (RISING, [1.0, 1.2, 1.3, 1.4, 1.5], False),
        (RISING, [1.0, 1.2, 2.3, 1.4, 1.5], True),
        (RISING, [5.0, 4.0, 1.0, 1.2, 1.5], False),
        (RISING, [2.5, 2.4, 2.3, 2.2, 2.1], True),
    ],
)
def test_a_run_without_an_onset_passes_fn_star_in_the_direction_of_the_others(make_frames, collapsed, norms, crosses):
    said = {"epoch": [1, 2, 3, 4, 5], "train_accuracy": [0.99] * 5}
    nc1 = [1.0, 0.5, 0.1, 0.001, 0.001]
    runs = {
        "a": {**said, "nc1": nc1, "feature_norm": collapsed},
        "b": {**said, "nc1": nc1, "feature_norm": collapsed},
        "c": {**said, "nc1": [1.0] * 5, "feature_norm": norms},
    }
    fn_star = results_of(make_frames(runs), rule=OnsetRule(rule="first"))[0]
    assert fn_star.estimate == pytest.approx(2)
    assert fn_star.extra["direction"] == ("falls" if collapsed is FALLING else "rises")
    assert fn_star.extra["n_censored_crossed"] == crosses


@pytest.mark.parametrize(
    ("rate", "about", "status"),
    [
        (90.0, {}, "all_censored"),
        (0.1, {}, "left_censored"),
        (90.0, {"status": "diverged"}, "diverged"),
        (90.0, {"status": "dead"}, "dead"),
    ],
)
def test_without_an_onset_there_is_no_threshold(make_frames, make_run, rate, about, status):
    for result in results_of(make_frames({"a": make_run(rate, **about), "b": make_run(rate, **about)})):
        assert result.status == status
        assert math.isnan(result.estimate)
        assert result.n_runs == 2


def test_without_an_onset_it_is_said_how_low_the_metric_came(make_frames, make_run):
    runs = {"a": make_run(90.0), "b": make_run(70.0), "blind": {}}
    lowest = [math.exp(-200 / 70)] * 2  # NC1 falls without noise over 200 epochs
    assert [result.extra["lowest"] for result in results_of(make_frames(runs))] == pytest.approx(lowest)
    assert math.isnan(results_of(make_frames({"blind": {}}))[0].extra["lowest"])


@pytest.mark.parametrize(("censored", "status"), [(1, "diverged"), (3, "all_censored")])
def test_what_became_of_most_runs_says_why_there_is_no_threshold(make_frames, make_run, censored, status):
    runs = {f"c{i}": make_run(90.0) for i in range(censored)}
    runs |= {f"d{i}": make_run(90.0, status="diverged") for i in range(2)}
    assert {result.status for result in results_of(make_frames(runs))} == {status}


def test_a_pair_without_evaluations_is_listed_as_such(make_frames):
    assert [result.status for result in results_of(make_frames({"a": {}}))] == ["no_data", "no_data"]


def test_an_onset_without_a_norm_is_counted_apart(make_frames, make_run):
    bare = {key: value for key, value in make_run().items() if key != "feature_norm"}
    fn_star = results_of(make_frames({"a": bare, "b": make_run(norm=3.0)}))[0]
    assert fn_star.extra["n_without_norm"] == 1
    assert any("fn* is that of 1 of 2 collapsed runs: no feature norm" in said for said in fn_star.warnings)
    assert fn_star.estimate == pytest.approx(3)
    assert results_of(make_frames({"a": bare}))[0].status == "not_testable"


def test_other_columns_make_other_pairs(make_frames, make_run):
    frames = make_frames({"a": make_run(depth=5), "b": make_run(depth=7), "c": make_run(depth=None)})
    assert [r.group for r in results_of(frames, by=("depth",))[::2]] == [{"depth": 5}, {"depth": 7}, {"depth": None}]
    with pytest.raises(AnalysisError):
        results_of(frames, by=("colour",))


def test_no_runs_give_no_results(make_frames):
    assert results_of(make_frames({})) == []


def test_mixed_phases_have_no_single_phase(make_frames, make_run):
    early, late = make_run(loss=["ce"] * 200), make_run(phase=[2] * 200)
    fn_star = results_of(make_frames({"a": early, "b": late}))[0]
    assert fn_star.extra["phase"] is None
    assert fn_star.extra["phases"] == {"1": 1, "2": 1}
    assert fn_star.extra["losses"] == {"ce": 1, "mse": 1}
    assert any("onsets under different losses (ce: 1, mse: 1)" in warning for warning in fn_star.warnings)


def test_a_run_that_may_have_been_stopped_is_no_false_alarm(make_frames, make_run):
    """The imports end at NC1 0.0123 with fn below fn*; of the trained run it is known that nobody stopped it."""
    runs = {"a": make_run(20.0), "b": make_run(21.0)}
    runs |= {name: make_run(25.0, epochs=110, norm=0.5, origin="imported") for name in ("c", "d")}
    runs |= {"e": make_run(25.0, epochs=110, norm=0.5)}
    onsets = onset_table(*(frames := make_frames(runs)), OnsetRule())
    found, _ = threshold_results(onsets, trajectories(frames[1], "nc1"), Terms())
    assert (found.n_censored, found.extra["n_without"], found.extra["n_censored_crossed"]) == (3, 1, 1)
    assert found.extra["shielded"] == ["2 of 5 runs may have been stopped by design before an onset at this eps"]
