"""Forecasts asked at landmarks, for a messy pair, against a loop over runs and folds, evaluation by evaluation."""

import math
from itertools import permutations
from statistics import mean, median

import numpy as np
import pytest
from naive_forecast import median_of
from naive_lead import OBSERVED, Naive, level_and_sign, messy_runs
from scipy import stats

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.terms import Terms

SHARES = (0.1, 0.25, 0.5, 0.75)


def naive_forecasts(runs, onsets, risk, units, now, logs):
    """What each contender forecasts for each run, from the runs outside its unit and what was seen by `now`."""
    curves = {column: {name: Naive(run, column) for name, run in runs.items()} for column in OBSERVED}
    found = {}
    for name in runs:
        others = {n: onset for n, onset in onsets.items() if units[n] != units[name]}
        learn = {n: onset for n, onset in others.items() if n in risk}
        guess, horizon = median(learn.values()), 2 * max(others.values())

        def forecast(reading, name=name, learn=learn, guess=guess):
            said = reading(name) + median_of(onset - reading(n) for n, onset in learn.items())
            return max(guess if math.isnan(said) else said, now)

        def believed(epoch, horizon=horizon):
            return epoch if epoch <= horizon else math.nan

        own = {"median": guess}
        gap = {n: abs(runs[n]["depth"] - runs[name]["depth"]) for n in learn}
        own["nearest"] = median(onset for n, onset in learn.items() if gap[n] == min(gap.values()))
        ahead = believed(curves["nc1"][name].outlook(now, 1, math.log(0.01)))
        own["nc1_trend"] = guess if math.isnan(ahead) else max(ahead, now)
        for column in OBSERVED:
            level, sign = level_and_sign(curves[column], runs, others, logs[column])

            def reading(n, column=column, level=level, sign=sign, believed=believed):
                return believed(curves[column][n].outlook(now, sign, sign * level + 1e-12))

            own["fn" if column == "feature_norm" else column] = forecast(reading)
        found[name] = own
    return found


def pitman_morgan(first, second):
    """Of the sum and the difference of errors the correlation's one-sided p."""
    total = (first - first.mean()) + (second - second.mean())
    difference = (first - first.mean()) - (second - second.mean())
    of = stats.pearsonr if len(first) < 6 else stats.spearmanr
    total, difference = np.round(total, 7), np.round(difference, 7)
    r = of(total, difference)[0]
    if 6 <= len(first) <= 8:
        ranked, orders = stats.rankdata(difference), permutations(stats.rankdata(total))
        return np.mean([np.corrcoef(order, ranked)[0, 1] <= r + 1e-9 for order in orders])
    return max(
        stats.t.cdf(r * math.sqrt((len(first) - 2) / max(1 - r * r, 1e-300)), len(first) - 2),
        1 / math.factorial(len(first)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_what_is_forecast_at_a_landmark_is_that_of_the_loop(make_frames, make_run, seed):
    runs = messy_runs(make_run, seed)
    frames = make_frames(runs)
    asked = Asked(runs=frames[0], epochs=frames[1], terms=Terms())
    table = asked.onsets.set_index("run")
    usable = table[(table["state"] == "collapsed") & (table["fn_star"] > 0)]
    onsets = usable["onset"].to_dict()
    ended = table[table["state"].isin(["censored", "unconfirmed"])]["censored_at"].to_dict()
    judged = {name: runs[name] for name in (*onsets, *ended)}
    logs = {c: {n: Naive(judged[n], c).at(onset) for n, onset in onsets.items()} for c in OBSERVED}
    logs["feature_norm"] = np.log(usable["fn_star"]).to_dict()
    results = lead_results(asked)
    compared = 0
    for held_out in ("run", "condition"):
        units = {n: n if held_out == "run" else runs[n]["depth"] for n in judged}
        for share in SHARES:
            now = share * median(onsets.values())
            risk = {n for n in judged if onsets.get(n, ended.get(n)) > now}
            found = {
                (r.quantity, r.extra["baseline"]): r
                for r in results
                if r.extra.get("landmark") == share and r.extra["held_out"] == held_out and "baseline" in r.extra
            }
            if not found:
                assert len({units[n] for n in risk if n in onsets}) < 3
                continue
            said = naive_forecasts(judged, onsets, risk, units, now, logs)
            known = sorted(risk & set(onsets))
            of_fn = np.array([said[n]["fn"] - onsets[n] for n in known])
            for baseline in said[known[0]]:
                result = found["landmark_mae", baseline]
                errors = np.array([said[n][baseline] - onsets[n] for n in known])
                early = [max(0.0, ended[n] - said[n][baseline]) for n in risk if n in ended]
                assert result.estimate == pytest.approx(np.abs(errors).mean(), rel=1e-6)
                assert result.extra["median_error"] == pytest.approx(np.median(np.abs(errors)), rel=1e-6)
                assert (result.extra["n_at_risk"], result.extra["n_hinge"]) == (len(known), len(early))
                assert result.extra["hinge"] == pytest.approx(mean(early), rel=1e-6)
                if baseline != "fn":
                    skill = found["landmark_skill", baseline]
                    exact = np.abs(errors).max() < 1e-6  # NC1 is a straight line here, and its trend may be right
                    saved = math.nan if exact else 1 - np.abs(of_fn).mean() / np.abs(errors).mean()
                    assert skill.estimate == pytest.approx(saved, rel=1e-6, nan_ok=True)
                    assert (skill.status == "zero_variance") >= exact
                    if skill.status == "ok":
                        assert skill.p == pytest.approx(pitman_morgan(of_fn, errors), rel=1e-6)
                compared += 1
    assert compared > 20
