import math

import numpy as np
import pytest

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.leads import lead_results
from ncdiag.domain.lead import MARGINS
from ncdiag.domain.onset import OnsetRule


def leads(frames, rule=None):
    return lead_results(Asked(runs=frames[0], epochs=frames[1], rule=rule or OnsetRule()))


def pick(results, quantity, **said):
    wanted = [r for r in results if r.quantity == quantity and all(r.extra.get(k) == v for k, v in said.items())]
    assert len(wanted) == 1, [r.extra for r in wanted]
    return wanted[0]


def world(make_run, rates, slopes, norms=None, **about):
    """Runs with onset rate x ln 100 and ln fn = ln norm - slope (t - onset): each run's own clock and fall."""
    runs = {}
    for i, (rate, slope) in enumerate(zip(rates, slopes, strict=True)):
        run = make_run(rate, **{key: value[i] for key, value in about.items()})
        t, onset = np.array(run["epoch"]), rate * math.log(100)
        run["feature_norm"] = ((1 if norms is None else norms[i]) * np.exp(-slope * (t - onset))).tolist()
        runs[str(i)] = run
    return runs


RATES = np.array([16.0, 18, 20, 22, 24, 26])


def test_leads_at_fn_star_cancel_where_fn_falls_steadily(make_frames, make_run):
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    found = leads(make_frames(world(make_run, RATES, [0.01] * 6, norms)))
    logs = np.log(norms)
    own = np.array([(np.delete(logs, i).mean() - logs[i]) / 0.01 for i in range(6)])  # crossing before onset: positive
    lead = pick(found, "lead", margin=0.0, held_out="run")
    assert lead.estimate == pytest.approx(0, abs=1e-6)
    assert lead.extra["median"] == pytest.approx(np.median(own), abs=1e-6)
    assert lead.extra["share_positive"] == pytest.approx(np.mean(own > 0))
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
    assert (skill.extra["primary"], skill.extra["p_holm"], skill.extra["family"]) == (True, skill.p, 1)


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
    assert pick(found, "lead", margin=0.0, held_out="run").extra["n_never"] == 1
    assert pick(found, "mae", margin=0.0, held_out="run", baseline="fn").extra["n_fallback"] == 1
    published = pick(found, "lead", held_out="none")
    assert (published.extra["n_never"], published.extra["n_crossed"]) == (1, 5)
    assert any("1 that never crossed are dropped" in warning for warning in published.warnings)


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


def test_equal_onsets_leave_nothing_to_forecast(make_frames, make_run):
    found = leads(make_frames(world(make_run, [20.0] * 4, [0.01, 0.02, 0.01, 0.02])))
    skill = pick(found, "skill", margin=0.25, held_out="run", baseline="median")
    assert skill.status == "zero_variance"
    assert math.isnan(skill.estimate)


def test_two_runs_are_too_few(make_frames, make_run):
    found = leads(make_frames({"a": make_run(), "b": make_run(25.0)}))
    assert [(r.quantity, r.status) for r in found] == [("lead", "too_few"), ("mae", "too_few"), ("skill", "too_few")]
    assert leads(make_frames({})) == []


def test_a_factor_on_the_features_changes_no_lead(make_frames, make_run):
    norms = np.array([1.0, 1.1, 0.95, 1.2, 1.05, 0.9])
    small, large = (leads(make_frames(world(make_run, RATES, [0.01] * 6, k * norms))) for k in (1, 7))
    assert [r.estimate for r in large] == pytest.approx([r.estimate for r in small], nan_ok=True)
