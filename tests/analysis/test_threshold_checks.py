import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.cautions import list_cautions, list_disqualifiers
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.threshold_checks import threshold_check_results
from ncdiag.domain.onset_rule import OnsetRule

NORMS = (1.0, 1.1, 0.9, 1.2, 1.05)
RATES = (20.0, 22.0, 18.0, 24.0, 21.0)


def checks(frames, **options):
    return threshold_check_results(Asked(runs=frames[0], epochs=frames[1], terms=Terms(**options)))


def one_condition(make_run, norms=NORMS):
    return {f"{i}": make_run(rate, norm=norm) for i, (rate, norm) in enumerate(zip(RATES, norms, strict=False))}


def test_the_placebo_is_fn_at_the_median_onset(make_frames, make_run):
    placebo, _ = checks(make_frames(one_condition(make_run)))
    onset = np.array(RATES) * math.log(100)
    at_median = np.log(NORMS) - (np.median(onset) - onset) / 400  # make_run: ln fn falls by 1 / 400 an epoch
    norms = np.exp(at_median)
    assert placebo.extra["epoch"] == pytest.approx(np.median(onset))
    assert placebo.extra["cv"] == pytest.approx(norms.std(ddof=1) / norms.mean())
    assert placebo.extra["cv_at_onset"] == pytest.approx(np.std(NORMS, ddof=1) / np.mean(NORMS))
    total, difference = np.log(NORMS) + at_median, np.log(NORMS) - at_median
    assert placebo.p == pytest.approx(max(1 / 120, stats.pearsonr(total, difference, alternative="less").pvalue))
    assert (placebo.extra["n_tested"], placebo.extra["over"]) == (5, "runs")
    limits = at_median.var(ddof=1) * 4 / stats.chi2.ppf([0.975, 0.025], 4)
    assert [placebo.lo, placebo.hi] == pytest.approx(np.sqrt(np.expm1(limits)))
    assert placebo.extra["p_min"] == pytest.approx(1 / 120)


def test_where_runs_stop_earlier_the_fixed_epoch_is_one_that_all_reached(make_frames, make_run):
    runs = one_condition(make_run)
    runs["2"] = make_run(18.0, norm=0.9, epochs=90)
    placebo, _ = checks(make_frames(runs))
    assert placebo.extra["epoch"] == 90
    assert placebo.extra["n_used"] == 5
    assert placebo.extra["t_median"] == pytest.approx(21 * math.log(100))  # 96.7
    assert placebo.warnings == (
        "the fixed epoch (90) is the end of a run, before the median onset (97): fn may vary more there for being "
        "earlier, so no verdict rests on it",
    )


@pytest.mark.parametrize("conditions", [2, 4])
def test_with_four_conditions_their_means_are_compared(make_frames, make_run, conditions):
    runs = {
        f"{c}-{s}": make_run(20.0 + c + s, norm=1 + 0.1 * c + 0.03 * s, weight_decay=10.0**-c)
        for c in range(conditions)
        for s in range(2)
    }
    placebo, sensitivity = checks(make_frames(runs))
    over = "conditions" if conditions == 4 else "runs"
    assert (placebo.extra["over"], placebo.extra["n_tested"], placebo.n_conditions) == (over, 4, conditions)
    assert sensitivity.extra["over"] == over
    pooled = [
        [f"{what} takes the runs of 2 conditions as independent"] for what in ("a fixed epoch", "the test of eps")
    ]
    said = [[warning.removeprefix("the comparison with ") for warning in r.warnings] for r in (placebo, sensitivity)]
    assert said == (pooled if conditions == 2 else [[], []])


@pytest.mark.parametrize("runs", [2, 3])
def test_three_runs_are_too_few_and_it_says_so_beforehand(make_frames, make_run, runs):
    """Nothing is tested; how much the norms vary is told all the same."""
    placebo, _ = checks(make_frames(one_condition(make_run, NORMS[:runs])))
    assert placebo.status == "too_few"
    assert math.isnan(placebo.p)
    assert any(f"smallest p: {1 / math.factorial(runs):.3g}" in warning for warning in placebo.warnings)
    assert placebo.extra["cv_at_onset"] == pytest.approx(np.std(NORMS[:runs], ddof=1) / np.mean(NORMS[:runs]))


def test_fn_star_at_half_and_twice_eps_over_the_same_runs(make_frames, make_run):
    runs = one_condition(make_run)
    _, found = checks(make_frames(runs))
    changes = -np.array(RATES) * math.log(4) / 400  # NC1 falls fourfold in rate x ln 4 epochs
    assert found.estimate == pytest.approx(changes.mean())
    assert found.p == pytest.approx(ttost_paired(changes, np.zeros(5), -math.log(1.08), math.log(1.08))[0])
    assert found.extra["outcome"] == "different"  # 7 %, too near to the margin of 8 %
    assert [row["eps"] for row in found.extra["curve"]] == pytest.approx([0.005, 0.01, 0.02, 0.03, 0.05])
    assert found.extra["curve"][2]["fn_star"] == pytest.approx(
        np.exp(np.mean(np.log(NORMS) + np.array(RATES) * math.log(2) / 400))
    )


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_change_with_eps_has_the_limits_of_two_one_sided_tests(make_frames, make_run, level):
    _, found = checks(make_frames(one_condition(make_run)), level=level)
    changes = -np.array(RATES) * math.log(4) / 400
    limits = stats.t.interval(2 * level - 1, 4, changes.mean(), stats.sem(changes))
    assert (found.lo, found.hi) == pytest.approx(limits)
    assert found.level == pytest.approx(2 * level - 1)
    norms = np.array(NORMS) * np.exp(np.array(RATES) * math.log(2) / 400)  # at the onset at 2 eps
    row = found.extra["curve"][2]
    assert row["cv"] == pytest.approx(norms.std(ddof=1) / norms.mean())
    assert (row["onset"], row["n_collapsed"]) == (pytest.approx(np.median(RATES) * math.log(50)), 5)


def test_runs_that_stop_at_eps_say_nothing_of_half_of_it(make_frames, make_run):
    runs = one_condition(make_run)
    runs["0"] = make_run(20.0, norm=1.0, epochs=95)
    found = checks(make_frames(runs))[1]
    assert found.extra["n_used"] == 4
    assert any("known of 4 of 5 collapsed runs" in warning for warning in found.warnings)
    only = checks(make_frames({"0": runs["0"]}))[1]
    assert only.status == "not_testable"
    assert only.warnings == ("no run has an onset with a feature norm at both eps 0.005 and 0.02",)
    assert math.isnan(only.p)


def test_the_curve_counts_runs_that_reach_a_larger_eps_alone(make_frames, make_run):
    """NC1 of the run at 40 falls to 0.02 by epoch 156, and not to 0.01 within its 170."""
    runs = one_condition(make_run) | {"short": make_run(40.0, norm=1.3, epochs=170)}
    found = checks(make_frames(runs))[1]
    assert [row["n_collapsed"] for row in found.extra["curve"]] == [5, 5, 6, 6, 6]
    assert found.extra["n_used"] == 5
    alone = checks(make_frames({"short": runs["short"]}))[1]
    assert (alone.status, [row["n_collapsed"] for row in alone.extra["curve"]]) == ("not_testable", [0, 0, 1, 1, 1])


def switching(rate, *, switch=50, end_of_ce=0.015, epochs=150, **about):
    """NC1 falls to `end_of_ce` under cross-entropy, at fn 12, then on from 0.013 by exp(-t / rate), at fn 1.2."""
    t = np.arange(1, epochs + 1)
    ce = t <= switch
    return {
        "epoch": t.tolist(),
        "nc1": np.where(ce, end_of_ce + 0.5 * np.exp(-t / 5), 0.013 * np.exp(-(t - switch) / rate)).tolist(),
        "feature_norm": np.where(ce, 12.0, 1.2).tolist(),
        "train_accuracy": [1.0] * epochs,
        "phase": np.where(ce, 1, 2).tolist(),
        "loss": np.where(ce, "ce", "mse").tolist(),
        **about,
    }


@pytest.mark.parametrize(("column", "what"), [("loss", "under different losses"), ("phase", "in different phases")])
def test_runs_under_two_losses_at_the_fixed_epoch_are_no_placebo(make_frames, column, what):
    """fn is 12 under one and 1.2 under the other: at one epoch it would vary by far more than at onset."""
    rates = (20.0, 22.0, 24.0, 26.0)
    runs = {f"{s} {r}": switching(r, switch=s, end_of_ce=0.1) for s in (40, 64) for r in rates}
    runs = {name: {**run, "loss" if column == "phase" else "phase": ["mse"] * 150} for name, run in runs.items()}
    if column == "loss":
        runs = {name: {key: said for key, said in run.items() if key != "phase"} for name, run in runs.items()}
    onset = [s + r * math.log(1.3) for s in (40, 64) for r in rates]  # between the switches, as most lie
    placebo = checks(make_frames(runs))[0]
    assert 40 < np.median(onset) < 64
    assert (placebo.status, math.isnan(placebo.estimate), placebo.extra) == ("not_testable", True, {})
    first, second = ("mse: 4", "ce: 4") if column == "loss" else ("2: 4", "1: 4")
    said = f"at one fixed epoch ({np.median(onset):.0f}) runs are {what} ({first}, {second})"
    assert placebo.warnings[0].startswith(said)
    late = {name: run for name, run in runs.items() if name.startswith("40")}
    assert checks(make_frames(late))[0].status == "zero_variance"  # fn is flat: compared it can be


def test_onsets_under_two_losses_are_compared_with_no_fixed_epoch(make_frames, make_run):
    """At the median onset all runs are under squared error, and two of them had collapsed before."""
    under = {"loss": ["ce"] * 50 + ["mse"] * 150, "phase": [1] * 50 + [2] * 150}
    runs = {f"{rate}": {**make_run(rate), **under} for rate in (8.0, 8.5, 20.0, 21.0, 22.0, 23.0)}
    placebo = checks(make_frames(runs))[0]
    assert placebo.status == "not_testable"
    assert placebo.warnings == (
        "at onset runs are under different losses (ce: 2, mse: 4): fn there is not one quantity",
    )


def test_a_change_of_loss_between_two_eps_is_no_change_with_eps(make_frames):
    """2 eps is passed under cross-entropy, eps and eps/2 under squared error, where fn is 1.2 whatever the epoch."""
    frames = make_frames({f"{rate}": switching(rate) for rate in (20.0, 21.0, 22.0, 23.0)})
    found = checks(frames)[1]
    assert (found.status, found.extra["n_used"], found.extra["n_across"]) == ("not_testable", 0, 4)
    assert math.isnan(found.estimate)
    assert "at both eps 0.005 and 0.02 in one phase, under one loss: 4 runs changed phase or loss" in found.warnings[0]
    assert [row["losses"] for row in found.extra["curve"]] == [{"mse": 4}, {"mse": 4}, *[{"ce": 4}] * 3]
    assert found.extra["curve"][2]["phases"] == {"1": 4}


@pytest.mark.parametrize("known", ["phase", "loss"])
def test_runs_that_stay_in_one_phase_tell_of_eps_and_the_others_are_counted(make_frames, make_run, known):
    """One of five stays above 2 eps until the switch; with the rest, fn* seems to change by a factor of ten."""
    runs = {f"{rate}": switching(rate) for rate in (20.0, 22.0, 24.0)}
    runs |= {f"late {rate}": switching(rate, end_of_ce=0.1) for rate in (20.0, 22.0)}
    if known == "phase":
        runs = {name: {**run, "loss": ["mse"] * 150} for name, run in runs.items()}
    else:
        runs = {name: {key: said for key, said in run.items() if key != "phase"} for name, run in runs.items()}
    for name in runs:
        start = runs[name]["epoch"].index(51)
        if name.startswith("late"):  # passes 2 eps at squared error, so NC1 starts above it there
            after = 0.03 * np.exp(-np.arange(1, 101) / float(name.split()[1]))
            runs[name]["nc1"][start:] = after.tolist()
            runs[name]["feature_norm"][start:] = (1.2 * np.exp(-np.arange(1, 101) / 1000)).tolist()
    found = checks(make_frames(runs))[1]
    assert (found.extra["n_used"], found.extra["n_across"]) == (2, 3)
    assert found.estimate == pytest.approx(-np.mean([20, 22]) * math.log(4) / 1000)
    assert "known of 2 of 5 collapsed runs; 3 runs changed phase or loss on the way" in found.warnings[0]
    mixed = found.extra["curve"][2]["losses" if known == "loss" else "phases"]
    assert sorted(mixed.values()) == [2, 3]


def test_without_an_onset_both_are_empty(make_frames, make_run):
    for found in checks(make_frames({"a": make_run(90.0), "b": make_run(95.0)})):
        assert found.status == "not_testable"
        assert math.isnan(found.estimate)


def test_onsets_at_one_evaluation_are_suspected_of_a_schedule(make_frames, make_run):
    frames = make_frames({"a": make_run(20.0, step=10), "b": make_run(20.5, step=10)})
    onsets = Asked(runs=frames[0], epochs=frames[1], terms=Terms()).onsets
    assert any("same evaluation, epoch 100" in caution for caution in list_cautions(onsets, OnsetRule()))


def test_onsets_after_a_drop_are_counted(make_frames, make_run):
    rate = [1e-3] * 92 + [1e-4] * 108
    frames = make_frames({"a": make_run(20.0, lr=rate), "b": make_run(25.0, lr=rate)})
    onsets = Asked(runs=frames[0], epochs=frames[1], terms=Terms()).onsets
    said = list_cautions(onsets, OnsetRule())
    assert list_disqualifiers(onsets) == ["1 of 2 onsets follows a drop of the learning rate"]
    for more, forbids in (
        ({"c": 26.0, "d": 27.0}, []),
        ({"c": 20.1}, ["2 of 3 onsets follow a drop of the learning rate"]),
    ):
        runs, epochs = make_frames({n: make_run(r, lr=rate) for n, r in {"a": 20.0, "b": 25.0, **more}.items()})
        assert list_disqualifiers(Asked(runs=runs, epochs=epochs, terms=Terms()).onsets) == forbids
    assert any("1 of 2 onsets comes at the first evaluation after a drop" in caution for caution in said)
