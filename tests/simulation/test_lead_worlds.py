"""What the tests of `analyze lead` promise, on worlds whose truth is known.

In the world "clock" ln fn is the same falling function of the epoch in every run, up to noise, and the onset has
nothing to do with it: fn varies little at onset, and forecasts nothing. In "late" it is flatter still, with long mean
leads. In "causal" each run's fn falls at a pace of its own, and ln NC1 follows fn down to eps at fn*. In "apart" fn
falls at a pace of its own, too, but NC1 at another, and fn has nothing to do with the onset.
"""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.comparison import less_variable
from ncdiag.domain.statistics import grouped_t_interval

pytestmark = pytest.mark.slow

TRIALS = 300
EPOCHS = np.arange(2, 401, 2)
KNOWN = {"arch": "mlp", "dataset": "simulated", "phases": "mse:400", "status": "done", "origin": "trained"}
KNOWN |= {"epochs_done": int(EPOCHS[-1]), "epochs_planned": int(EPOCHS[-1])}
UNKNOWN = ("seed", "device", "data_sha256")


def noise(rng, sd):
    """Autoregressive noise: what one evaluation is off by, the next is by half of it."""
    steps = rng.normal(0, sd * np.sqrt(1 - 0.25), len(EPOCHS))
    found = np.zeros(len(EPOCHS))
    for i in range(1, len(EPOCHS)):
        found[i] = 0.5 * found[i - 1] + steps[i]
    return found


def one_run(world, rng):
    """Give ln fn and ln NC1 of a run; in every world the median onset is about 200, with a spread of 15 %."""
    pace = np.exp(rng.normal(0, 0.15))
    if world == "causal":
        norm = np.log(5) * np.exp(-EPOCHS * pace / 120)  # ln fn - ln fn*, and about 0.3 when NC1 gets to eps
        gap = norm - 0.3 - rng.normal(0, 0.03)
        return norm + noise(rng, 0.01), np.log(0.01) + 4 * gap + noise(rng, 0.05)
    flat = {"clock": 120, "late": 40}.get(world) or 120 * np.exp(rng.normal(0, 0.3))
    norm = np.log(5) * np.exp(-EPOCHS / flat)
    return norm + noise(rng, 0.01), np.log(0.01) * EPOCHS / (200 * pace) + noise(rng, 0.05)


def simulate(world, n, rng, *, stop=False):
    runs = pd.DataFrame([{**dict.fromkeys((*CONDITION_COLUMNS, *UNKNOWN)), **KNOWN, "run": str(i)} for i in range(n)])
    rows = []
    for i in range(n):
        norm, metric = one_run(world, rng)
        rows.append(pd.DataFrame({"run": str(i), "epoch": EPOCHS, "feature_norm": np.exp(norm), "nc1": np.exp(metric)}))
        below = metric < np.log(0.01)
        confirmed = np.flatnonzero(below[2:] & below[1:-1] & below[:-2])
        if stop and len(confirmed):
            rows[-1] = rows[-1].iloc[: confirmed[0] + 3]
    epochs = pd.concat(rows, ignore_index=True)
    epochs = epochs.assign(phase=1, loss="mse", lr=np.nan, train_accuracy=1.0, nonfinite=None)
    config = {"stop": {"eps": 0.01}} if stop else {}
    return lead_results(Asked(runs=runs.assign(config=[config] * n), epochs=epochs, terms=Terms()))


@cache
def trials(world, n):
    """Give of each trial the p of the skill over guessing, the skill, and the lead at fn*; and print what was found."""
    rng = np.random.default_rng([n, *map(ord, world)])
    found = [simulate(world, n, rng) for _ in range(TRIALS)]
    skill = [next(r for r in results if r.extra.get("primary")) for results in found]
    lead = [next(r for r in results if r.quantity == "lead" and r.extra["margin"] == 0) for results in found]
    rejected = sum(r.p < 0.05 for r in skill)
    print(
        f"\n{world}, n = {n}, {TRIALS} trials: skill shown in {rejected / TRIALS:.3f}, mean skill "
        f"{np.mean([r.estimate for r in skill]):.2f}, mean lead at fn* {np.mean([r.estimate for r in lead]):.1f}"
    )
    return skill, lead


@pytest.mark.parametrize("n", [5, 10])
def test_on_the_edge_of_skill_the_test_rejects_about_as_often_as_it_says(n):
    """An alarm a with cov(a, T) = var(a) / 2 leaves onset minus alarm exactly as variable as the onset."""
    rng, trials = np.random.default_rng(n), 5000
    alarm = rng.normal(0, 20, (trials, n))
    onset = 200 + alarm / 2 + rng.normal(0, 30, (trials, n))
    rejected = sum(less_variable(t - a, t).p < 0.05 for a, t in zip(alarm, onset, strict=True))
    print(f"\nthe edge, n = {n}, {trials} trials: skill shown in {rejected / trials:.3f}")
    assert 0.03 < rejected / trials < 0.08


@pytest.mark.parametrize("world", ["clock", "late"])
@pytest.mark.parametrize("n", [5, 10])
def test_without_a_link_skill_is_hardly_ever_shown(world, n):
    """More rarely than 5 %: the level that others give lies high where a run's own onset is late, against a link."""
    skill, _ = trials(world, n)
    rejected = sum(r.p < 0.05 for r in skill)
    assert stats.binomtest(rejected, TRIALS, 0.05, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("world", ["clock", "causal"])
def test_three_runs_have_no_p_in_any_world(world):
    skill, _ = trials(world, 3)
    assert all(np.isnan(r.p) and r.status == "too_few" for r in skill)


def test_a_link_is_found_with_ten_runs_and_more_often_than_with_five():
    few, many = ([r.p < 0.05 for r in trials("causal", n)[0]] for n in (5, 10))
    assert np.mean(many) > 0.8
    assert np.mean(many) > np.mean(few)
    assert np.mean([r.estimate for r in trials("causal", 10)[0]]) > 0.3


@pytest.mark.parametrize("world", ["clock", "late", "causal"])
@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_interval_of_the_share_of_positive_leads_covers(world, n):
    """The truth is the share over all runs of all trials; held-out leads depend on one another, negatively."""
    _, lead = trials(world, n)
    shares = [r.extra["share_positive"] for r in lead if r.status == "ok"]
    truth = np.mean(shares)
    covered = sum(r.extra["share_lo"] <= truth <= r.extra["share_hi"] for r in lead if r.status == "ok")
    print(f"\n{world}, n = {n}, {len(shares)} trials: the 95 % interval covers in {covered / len(shares):.3f}")
    assert stats.binomtest(covered, len(shares), 0.95, alternative="less").pvalue > 1e-3


def test_the_mean_lead_at_fn_star_is_small_with_a_link_and_long_where_fn_is_flat_on_its_own_clock():
    """A mean lead tells the worlds apart the wrong way round: it is longest where fn has nothing to do with onset."""
    late, causal = (np.median([r.estimate for r in trials(world, 10)[1]]) for world in ("late", "causal"))
    assert late > 20 > abs(causal)


@pytest.mark.parametrize("stop", [False, True])
def test_without_a_link_runs_that_stop_at_their_onset_make_no_alarm_early(stop):
    """Only alarms before the onset are seen there: the tests of them must say what they say of runs to the end."""
    rng, n = np.random.default_rng(3), 12
    found = [simulate("apart", n, rng, stop=stop) for _ in range(TRIALS)]
    leads = [next(r for r in results if r.quantity == "lead" and r.extra["margin"] == 0) for results in found]
    pairing = [
        next(r.extra["p_pairing"] for r in results if r.quantity == "skill" and r.extra["margin"] == 0)
        for results in found
    ]
    early, together = (np.count_nonzero(np.array(ps) < 0.05) for ps in ([r.p for r in leads], pairing))
    above = sum(r.lo > 0 for r in leads)
    print(
        f"\n{'stopped at the onset' if stop else 'to the end'}, n = {n}, {TRIALS} trials: early in "
        f"{np.mean([r.extra['share_positive'] for r in leads]):.3f}, sign test {early / TRIALS:.3f}, interval above 0 "
        f"{above / TRIALS:.3f}, p_pairing {together / TRIALS:.3f}, mean lead {np.mean([r.estimate for r in leads]):.1f}"
    )
    for rejected in (early, above, together):
        assert stats.binomtest(rejected, TRIALS, 0.05, alternative="greater").pvalue > 1e-3
    assert 0.45 < np.mean([r.extra["share_positive"] for r in leads]) < 0.6


def held_out(values, condition, learn):
    """Give what `learn` makes, for each value, of the values of the other conditions."""
    return np.array([learn(values[condition != own]) for own in condition])


@pytest.mark.parametrize("conditions", [3, 4, 8, 20])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_intervals_of_lead_and_error_hold_where_conditions_differ(conditions, share):
    """Three seeds to a condition, and a share of the variance between conditions: an interval over runs holds less."""
    rng, trials = np.random.default_rng([conditions, round(10 * share)]), 1500
    condition = np.repeat(np.arange(conditions), 3)
    found = []
    for _ in range(trials):
        spread, norm, onset = (
            np.sqrt(share) * rng.normal(size=conditions)[condition]
            + np.sqrt(1 - share) * rng.normal(size=3 * conditions)
            for _ in range(3)
        )
        lead = 60 + 20 * spread + 10 * (held_out(norm, condition, np.mean) - norm)
        onset = 300 * np.exp(0.15 * onset)
        error = np.abs(onset - held_out(onset, condition, np.median))
        found.append([grouped_t_interval(lead, condition, 0.95), grouped_t_interval(error, condition, 0.99)])
    truth = 60, np.mean([of_error.estimate for _, of_error in found])
    held = [np.mean([each[i].lo <= truth[i] <= each[i].hi for each in found]) for i in (0, 1)]
    print(
        f"\n{conditions} conditions, {share:.0%} of the variance: lead {held[0]:.3f} of .95, error {held[1]:.3f} of .93"
    )
    assert 0.94 < held[0] < 0.99
    assert 0.88 < held[1] < 0.995
