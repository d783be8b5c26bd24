import math
from itertools import permutations
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
from analysis.conftest import pick
from lead_worlds import RATES, leads, world
from scipy import stats

from ncdiag.analysis.lead_scores import compare_errors, share_of_error
from ncdiag.analysis.leads import lead_family
from ncdiag.domain.lead import MARGINS
from ncdiag.domain.onset_rule import OnsetRule


def test_leads_at_fn_star_cancel_where_fn_falls_steadily(make_frames, make_run):
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6, norms)))
    logs = np.log(norms)
    own = np.array([(np.delete(logs, i).mean() - logs[i]) / 0.01 for i in range(6)])  # crossing before onset: positive
    lead = pick(found, "lead", margin=0.0, held_out="run")
    assert lead.estimate == pytest.approx(0, abs=1e-6)
    assert lead.extra["median"] == pytest.approx(np.median(own), abs=1e-6)
    assert lead.extra["share_positive"] == pytest.approx(np.mean(own > 0))
    assert lead.p == pytest.approx(stats.binomtest(np.count_nonzero(own > 0), 6, alternative="greater").pvalue)
    assert (lead.extra["p_min"], lead.extra["over"]) == (1 / 64, "runs")
    assert any("0 by construction" in warning for warning in lead.warnings)


def test_a_margin_buys_the_lead_that_the_slope_says(make_frames, make_run):
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6)))
    for margin in MARGINS:
        lead = pick(found, "lead", margin=margin, held_out="run")
        assert lead.estimate == pytest.approx(math.log1p(margin) / 0.01, abs=1e-6)
    actionable = pick(found, "lead", margin=0.25, held_out="run").extra["actionable"]
    assert math.log(1.25) / 0.01 - 3 < actionable < math.log(1.25) / 0.01 - 2 + 1e-9  # two evaluations later


def test_a_norm_that_decides_forecasts_without_error(make_frames, make_run):
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6)))
    onset = RATES * math.log(100)
    guess = np.mean([abs(np.median(np.delete(onset, i)) - onset[i]) for i in range(6)])
    assert pick(found, "mae", margin=None, held_out="run", baseline="median").estimate == pytest.approx(guess)
    assert pick(found, "mae", margin=0.25, held_out="run", baseline="fn").estimate == pytest.approx(0, abs=1e-6)
    skill = pick(found, "skill", margin=0.25, held_out="run", baseline="median")
    assert skill.estimate == pytest.approx(1)
    assert skill.p < 0.05
    assert skill.extra["p_pairing"] == pytest.approx(1 / 720)
    assert (skill.extra["primary"], lead_family(skill)) == (True, "run")


@pytest.mark.parametrize(("own", "skill"), [(5.0, 0.5), (0.0, 1.0), (10.0, 0.0), (15.0, -0.5)])
def test_skill_is_the_share_of_the_error_that_a_forecast_saves(own, skill):
    onset, side = np.array([100.0, 120, 140]), np.array([1, -1, 1])
    judged = SimpleNamespace(data=SimpleNamespace(onset=onset))
    assert share_of_error(judged, onset + own * side, onset - 10, np.ones(3, dtype=bool)) == pytest.approx(skill)


def test_a_norm_on_its_own_clock_has_no_skill(make_frames, make_run):
    """ln fn is the same function of the epoch in every run, whatever NC1 does: a low CV, and nothing to forecast."""
    found = leads(make_frames(world(make_run, RATES, [0.001] * 6, np.exp(-0.001 * RATES * math.log(100)))))
    skill = pick(found, "skill", margin=0.25, held_out="run", baseline="median")
    assert not skill.p < 0.05
    assert skill.estimate <= 0.01


def test_whole_conditions_are_held_out_together(make_frames, make_run):
    decay = [1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3]
    norms = np.array([1.0, 1.0, 2.0, 2.0, 4.0, 4.0])
    found = leads(make_frames(world(make_run, RATES, [0.02] * 6, norms, weight_decay=decay)))
    lead = pick(found, "lead", margin=0.0, held_out="condition")
    expected = np.array([(1.5 - k) * math.log(2) / 0.02 for k in (0, 0, 1, 1, 2, 2)]) * 2 / 2
    level = {0: 1.5, 1: 1.0, 2: 0.5}  # mean of log2 of the other two conditions
    expected = np.array([(level[k] - k) * math.log(2) / 0.02 for k in (0, 0, 1, 1, 2, 2)])
    known = expected < RATES * math.log(100) - 1  # the others were below the level when first evaluated
    assert lead.extra["n_left_censored"] == np.count_nonzero(~known)
    assert lead.n_conditions == 3


def test_runs_that_never_cross_are_counted_and_forecast_by_guessing(make_frames, make_run):
    runs = world(make_run, RATES, [0.01] * 6)
    runs["5"]["feature_norm"] = [3.0] * 200
    found = leads(make_frames(runs))
    assert pick(found, "mae", margin=0.0, held_out="run", baseline="fn").extra["n_fallback"] == 1
    published = pick(found, "lead", held_out="none")
    assert (published.extra["n_never"], published.extra["n_crossed"]) == (1, 5)
    assert any("without the 1 that had not crossed by their end" in warning for warning in published.warnings)


def test_a_run_that_ended_before_its_alarm_is_not_early_and_its_lead_is_at_most_what_was_seen(make_frames, make_run):
    """The first run has an fn of 3 to its end at 200; it raises the level of the others by ln 3 / 5."""
    runs = world(make_run, RATES, [0.01] * 6)
    runs["0"]["feature_norm"] = [3.0] * 200
    found = leads(make_frames(runs))
    lead = pick(found, "lead", margin=0.0, held_out="run")
    onset = RATES * math.log(100)
    most = np.array([onset[0] - 200, *[math.log(3) / 5 / 0.01] * 5])
    assert lead.estimate == pytest.approx(most.mean(), abs=1e-6)
    assert (lead.lo, lead.hi) == (-math.inf, pytest.approx(stats.t.interval(0.95, 5, most.mean(), stats.sem(most))[1]))
    assert (lead.extra["n_never"], lead.extra["seen_after"]) == (1, pytest.approx(200 - onset[0]))
    assert lead.extra["share_positive"] == pytest.approx(5 / 6)
    assert lead.p == pytest.approx(stats.binomtest(5, 6, alternative="greater").pvalue)
    ranks = [6, 1, 2, 3, 4, 5]  # of the alarms, in the order of the onsets: the one that never came is the last
    sums = np.array([*permutations(range(1, 7))]) @ ranks
    skill = pick(found, "skill", margin=0.0, held_out="run", baseline="median")
    assert skill.extra["p_pairing"] == pytest.approx(np.mean(sums >= np.dot(range(1, 7), ranks)))


def test_of_runs_that_stop_at_their_onset_those_without_an_alarm_are_as_late_as_any(make_frames, make_run):
    """Every run ends at its onset: half cross the level of the others before it, and half would have after it."""
    runs = world(make_run, RATES, [0.01] * 6, [1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    full = pick(leads(make_frames(runs), OnsetRule(rule="first")), "lead", margin=0.0, held_out="run")
    for run in runs.values():
        stop = 1 + next(i for i, value in enumerate(run["nc1"]) if value < 0.01)
        run |= {name: values[:stop] for name, values in run.items() if isinstance(values, list)}
    cut = pick(leads(make_frames(runs), OnsetRule(rule="first")), "lead", margin=0.0, held_out="run")
    assert (full.extra["n_never"], cut.extra["n_never"], cut.extra["seen_after"]) == (0, 3, 0)
    assert (cut.extra["share_positive"], cut.p) == (full.extra["share_positive"], full.p)
    assert (cut.lo, cut.extra["share_positive"]) == (-math.inf, 0.5)
    assert cut.estimate > full.estimate
    assert any(
        said.startswith("3 of 6 runs ended before crossing fn*, learned from other runs, at the onset: ")
        for said in cut.warnings
    )


def test_of_conditions_that_have_runs_without_an_alarm_the_sign_is_that_of_the_median(make_frames, make_run):
    """Three seeds each: in one condition two have no alarm, in another one, in the third none."""
    rates = [20.0, 20.5, 21, 22, 22.5, 23, 24, 24.5, 25]
    runs = world(make_run, rates, [0.01] * 9, weight_decay=[1e-5] * 3 + [1e-4] * 3 + [1e-3] * 3)
    for name in "013":
        runs[name]["feature_norm"] = [3.0] * 200
    lead = pick(leads(make_frames(runs)), "lead", margin=0.0, held_out="run")
    assert (lead.extra["over"], lead.extra["n_never"], lead.extra["p_min"]) == ("conditions", 3, 1 / 8)
    assert lead.p == pytest.approx(stats.binomtest(2, 3, alternative="greater").pvalue)


def test_the_published_reading_is_in_sample(make_frames, make_run):
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    runs = world(make_run, RATES, [0.01] * 6, norms)
    rule = OnsetRule(rule="first")
    found = leads(make_frames(runs), rule)
    onset = np.ceil(RATES * math.log(100))
    at_onset = [run["feature_norm"][int(t) - 1] for run, t in zip(runs.values(), onset, strict=True)]
    crossed = np.array([np.argmax(np.array(run["feature_norm"]) <= np.mean(at_onset)) + 1 for run in runs.values()])
    lead = onset - crossed
    assert pick(found, "lead", held_out="none").estimate == pytest.approx(lead.mean())
    assert pick(found, "mae", held_out="none").estimate == pytest.approx(np.abs(lead - lead.mean()).mean())


def test_other_observables_compete_at_the_same_lead(make_frames, make_run):
    runs = world(make_run, RATES, [0.004, 0.02, 0.01, 0.03, 0.006, 0.015])
    for run in runs.values():
        run["weight_norm"] = [10 * math.exp(-t / 300) for t in run["epoch"]]
        run["train_loss"] = list(run["nc1"])
    found = leads(make_frames(runs))
    fn = pick(found, "mae", margin=0.25, held_out="run", baseline="fn")
    names = ("nc1", "nc1_trend", "train_loss", "weight_norm", "fn")
    errors = {name: pick(found, "mae", margin=0.25, held_out="run", baseline=name).estimate for name in names}
    assert errors["nc1"] == pytest.approx(errors["train_loss"])
    assert errors["nc1"] < errors["fn"]
    assert errors["nc1_trend"] == pytest.approx(0, abs=1e-6)  # ln NC1 is a straight line here
    against = pick(found, "skill", margin=0.25, held_out="run", baseline="nc1")
    assert against.estimate == pytest.approx(1 - fn.estimate / errors["nc1"])
    matched = pick(found, "mae", margin=0.25, held_out="run", baseline="nc1").extra["mean_lead"]
    assert matched == pytest.approx(fn.extra["mean_lead"], abs=10)


def test_a_trend_that_has_seen_the_onset_forecasts_nothing_and_says_what_fn_says(make_frames, make_run):
    """ln NC1 is a straight line, whose trend errs by 0 before the onset; half of the alarms come after it."""
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6, norms)))
    logs = np.log(norms)
    lead = np.array([(np.delete(logs, i).mean() - logs[i]) / 0.01 for i in range(6)])
    lag = [median((np.delete(logs, i).mean() - np.delete(logs, i)) / 0.01) for i in range(6)]
    late = lead < 0
    about = {"margin": 0.0, "held_out": "run", "baseline": "nc1_trend"}
    assert pick(found, "mae", **about).estimate == pytest.approx(np.abs(lag - lead)[late].sum() / 6, abs=1e-6)
    assert pick(found, "mae", **about).extra["mean_lead"] == pytest.approx(0, abs=1e-6)
    skill = pick(found, "skill", **about)
    assert (skill.extra["n_tested"], skill.status) == (np.count_nonzero(~late), "too_few")
    assert skill.warnings == ("the test of skill needs 4 runs with the alarm before the onset, not 3",)


def test_a_comparison_without_a_run_to_compare_has_no_test():
    judged = SimpleNamespace(data=SimpleNamespace(onset=RATES, condition=np.zeros(6, dtype=int)))
    test, over = compare_errors(judged, RATES, RATES + 1, np.zeros(6, dtype=bool))
    assert (test.n, test.status, over) == (0, "too_few", "runs")


def test_a_rank_that_says_nothing_of_a_run_does_not_compete(make_frames, make_run):
    runs, epochs = make_frames(world(make_run, RATES, [0.01] * 6))
    found = leads((runs, epochs.assign(nc1_rank=9.0, nc3=epochs["nc1"])))
    baselines = {result.extra.get("baseline") for result in found}
    assert "nc3" in baselines
    assert "nc1_rank" not in baselines


def test_fixed_alarms_of_the_metric_and_of_accuracy(make_frames, make_run):
    runs = world(make_run, RATES, [0.01] * 6)
    for run in runs.values():
        run["train_accuracy"] = [0.99] * 49 + [1.0] * 151
    found = leads(make_frames(runs))
    alarm = pick(found, "mae", margin=None, held_out="run", baseline="nc1<10eps")
    assert alarm.extra["mean_lead"] == pytest.approx(np.mean(RATES) * math.log(10))
    accuracy = pick(found, "mae", margin=None, held_out="run", baseline="accuracy")
    assert accuracy.extra["mean_lead"] == pytest.approx(np.mean(RATES * math.log(100) - 50))


def test_false_alarms_are_counted_among_the_censored(make_frames, make_run):
    runs = world(make_run, RATES, [0.01] * 6)
    quiet, loud = make_run(90.0, norm=50.0), make_run(90.0, norm=0.5)
    found = leads(make_frames({**runs, "quiet": quiet, "loud": loud}))
    specificity = pick(found, "specificity", margin=0.0, held_out="run")
    assert (specificity.estimate, specificity.n_censored) == (0.5, 2)
    assert (specificity.extra["crossed_censored"], specificity.extra["quiet_censored"]) == (1, 1)
    without = pick(leads(make_frames(runs)), "specificity", margin=0.0, held_out="run")
    assert without.status == "not_testable"
    assert math.isnan(without.estimate)


def test_false_alarms_of_three_conditions_are_no_surer_than_three_runs(make_frames, make_run):
    loud = {f"d{depth}-{i}": make_run(90.0, norm=0.5, depth=depth) for depth in (2, 3, 4) for i in range(4)}
    found = leads(make_frames({**world(make_run, RATES, [0.01] * 6), **loud}))
    specificity = pick(found, "specificity", margin=0.0, held_out="run")
    assert (specificity.estimate, specificity.lo, specificity.extra["crossed_censored"]) == (0, 0, 12)
    assert specificity.hi == pytest.approx(1 - 0.025 ** (1 / 3))  # Clopper-Pearson of 0 in 3


def test_a_run_that_may_have_been_stopped_is_no_false_alarm(make_frames, make_run):
    """The imports end at NC1 0.0123, where they may have been stopped; the trained run was not, as is known."""
    runs = world(make_run, RATES, [0.01] * 6)
    runs |= {name: make_run(25.0, epochs=110, norm=0.5, origin="imported") for name in ("c", "d")}
    runs["e"] = make_run(25.0, epochs=110, norm=0.5)
    specificity = pick(leads(make_frames(runs)), "specificity", margin=0.0, held_out="run")
    assert (specificity.extra["crossed_censored"], specificity.extra["quiet_censored"]) == (1, 0)


def test_equal_onsets_leave_nothing_to_forecast(make_frames, make_run):
    found = leads(make_frames(world(make_run, [20.0] * 4, [0.01, 0.02, 0.01, 0.02])))
    skill = pick(found, "skill", margin=0.25, held_out="run", baseline="median")
    assert skill.status == "zero_variance"
    assert math.isnan(skill.estimate)
    order = pick(found, "concordance", margin=0.25, held_out="run")
    assert (order.status, order.extra["n_pairs"]) == ("not_testable", 0)


def test_two_runs_are_too_few(make_frames, make_run):
    found = leads(make_frames({"a": make_run(), "b": make_run(25.0)}))
    assert [(r.quantity, r.status) for r in found] == [("lead", "too_few"), ("mae", "too_few"), ("skill", "too_few")]
    assert leads(make_frames({})) == []


def test_a_factor_on_the_features_changes_no_lead(make_frames, make_run):
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    small, large = (leads(make_frames(world(make_run, RATES, [0.01] * 6, k * norms))) for k in (1, 7))
    assert [r.estimate for r in large] == pytest.approx([r.estimate for r in small], nan_ok=True)


def test_the_nearest_condition_forecasts_what_its_runs_did(make_frames, make_run):
    """Three depths with two runs each: another seed is forecast by its twin, a new depth by the nearest others."""
    onset = RATES * math.log(100)
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6, depth=[2, 2, 3, 3, 8, 8])))
    by_run = pick(found, "mae", margin=None, held_out="run", baseline="nearest")
    assert by_run.estimate == pytest.approx(np.abs(np.diff(onset)[::2]).mean())
    by_condition = pick(found, "mae", margin=None, held_out="condition", baseline="nearest")
    near = [onset[2:4].mean(), np.median(onset[[0, 1, 4, 5]]), onset[2:4].mean()]  # ranks: 3 lies midway
    assert by_condition.estimate == pytest.approx(np.abs(onset - np.repeat(near, 2)).mean())
    for margin in MARGINS:
        against = pick(found, "skill", margin=margin, held_out="condition", baseline="nearest")
        fn = pick(found, "mae", margin=margin, held_out="condition", baseline="fn")
        assert against.estimate == pytest.approx(1 - fn.estimate / by_condition.estimate)
    alone = leads(make_frames(world(make_run, RATES, [0.01] * 6)))
    assert not [r for r in alone if r.extra.get("baseline") == "nearest"]  # one condition: the guess itself


def test_runs_without_an_onset_count_by_how_much_a_forecast_was_too_early(make_frames, make_run):
    """Guessing says 96.7 (the median onset of six) for a run that ends at 200 without an onset: 103.3 too early."""
    runs = {**world(make_run, RATES, [0.01] * 6), "open": make_run(90.0, norm=50.0)}
    found = leads(make_frames(runs))
    guess = pick(found, "mae", margin=None, held_out="run", baseline="median")
    assert guess.extra["hinge"] == pytest.approx(200 - np.median(RATES) * math.log(100))
    assert (guess.extra["n_hinge"], guess.extra["n_overdue"]) == (1, 1)
    errors = [abs(np.median(np.delete(RATES, i)) - RATES[i]) * math.log(100) for i in range(6)]
    assert guess.estimate == pytest.approx(np.mean(errors))  # the open run teaches nothing


def test_an_alarm_in_the_order_of_the_onsets_is_fully_concordant(make_frames, make_run):
    runs = {**world(make_run, RATES, [0.01] * 6), "open": make_run(90.0, norm=50.0)}
    share = pick(leads(make_frames(runs)), "concordance", margin=0.25, held_out="run")
    assert (share.estimate, share.extra["n_pairs"]) == (1.0, 21)


def test_what_limits_the_onsets_is_said_with_the_lead(make_frames, make_run):
    runs = {**world(make_run, RATES, [0.01] * 6), "bad": make_run(20.0, status="diverged", epochs=30)}
    lead = pick(leads(make_frames(runs)), "lead", margin=0.0, held_out="run")
    assert "1 of 7 runs diverged" in lead.warnings


def test_a_norm_that_rises_alarms_from_below(make_frames, make_run):
    """ln fn rises by .01 an epoch to 0 at onset: a margin of 25 % is reached ln 1.25 / .01 epochs before."""
    lead = pick(leads(make_frames(world(make_run, RATES, [-0.01] * 6))), "lead", margin=0.25, held_out="run")
    assert lead.estimate == pytest.approx(math.log(1.25) / 0.01, abs=1e-6)
    assert lead.extra["direction"] == "rises"
    assert math.log(1.25) / 0.01 - 3 < lead.extra["actionable"] < math.log(1.25) / 0.01 - 2 + 1e-9


def test_a_norm_that_rises_may_be_above_its_level_from_the_start(make_frames, make_run):
    """ln fn rises by .001 an epoch: 50 % below its value at onset lies 405 epochs before it, before the first epoch."""
    lead = pick(leads(make_frames(world(make_run, RATES, [-0.001] * 6))), "lead", margin=0.5, held_out="run")
    said = "6 of 6 runs were at or above fn* with a margin of 50%, learned from other runs, when first evaluated"
    assert f"{said}: how long before the onset is not known, and the mean lead is without them" in lead.warnings
    assert (lead.status, lead.extra["n_crossed"], lead.extra["n_left_censored"]) == ("not_testable", 6, 6)
    assert math.isnan(lead.estimate)


def test_what_was_held_out_and_the_margin_are_named_with_the_runs_that_never_crossed(make_frames, make_run):
    # The first run stays near 2, above 1.25 times the others' norm of 1 at onset, to its end.
    runs = world(make_run, RATES, [1e-4, *[0.01] * 5], [2.0, *[1.0] * 5], weight_decay=[1e-5, 1e-4, 1e-3] * 2)
    found = leads(make_frames(runs))
    for held_out, others in (("run", "other runs"), ("condition", "other conditions")):
        for margin, level in ((0.0, "fn*"), (0.25, "fn* with a margin of 25%")):
            warnings = pick(found, "lead", margin=margin, held_out=held_out).warnings
            said = (
                f"1 of 6 runs ended before crossing {level}, learned from {others}, at most 126 epochs after the onset"
            )
            assert any(warning.startswith(said) for warning in warnings)
