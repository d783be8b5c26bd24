"""The alarms of a messy pair against a loop over runs, folds and levels, evaluation by evaluation."""

import math
from statistics import mean, median

import numpy as np
import pytest
from statsmodels.api import OLS

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.lead_data import MULTIPLES
from ncdiag.analysis.leads import lead_results
from ncdiag.domain.lead import MARGINS
from ncdiag.domain.onset import OnsetRule

OBSERVED = ("feature_norm", "nc1", "weight_norm", "train_loss")


def messy_runs(make_run, seed):
    """Runs with grids of their own, gaps, ties, zeros and infinities, a phase switch, and some without an onset."""
    rng = np.random.default_rng(seed)
    runs = {}
    for i in range(9):
        step = int(rng.choice([1, 2, 5]))
        rate = float(rng.uniform(12, 30)) if i < 7 else 200.0
        run = make_run(rate, epochs=150, step=step, depth=3 + i % 3)
        t = np.array(run["epoch"], dtype=float)
        norm = np.exp(rng.uniform(-0.01, 0.03) * (rate * 4.6 - t)) * np.exp(rng.normal(0, 0.02, len(t)))
        weight = np.round(5 + t / rng.uniform(20, 90), 1 if seed % 2 else 6)  # rises, with ties
        loss = np.exp(-t / rate + rng.normal(0, 0.3, len(t)))
        for values, bad in ((norm, np.nan), (weight, np.inf), (loss, 0.0)):
            values[rng.random(len(t)) < 0.1] = bad
        run["feature_norm"], run["weight_norm"], run["train_loss"] = norm.tolist(), weight.tolist(), loss.tolist()
        run["phase"] = np.where(t <= 40, 1, 2).tolist()
        runs[f"r{i}"] = run
    runs["tiny"] = {**make_run(200.0, epochs=1, depth=3), "weight_norm": [5.0], "train_loss": [1.0], "phase": [1]}
    return runs


class Naive:
    """One observable of one run: the evaluations at which it was finite and positive."""

    def __init__(self, run, column):
        rows = [
            (t, math.log(v), p)
            for t, v, p in zip(run["epoch"], run[column], run["phase"], strict=True)
            if math.isfinite(v) and v > 0
        ]
        self.rows = [(t, log, i > 0 and p != rows[i - 1][2]) for i, (t, log, p) in enumerate(rows)]

    def at(self, epoch):
        for i, (t, log, switched) in enumerate(self.rows):
            if t == epoch or (t > epoch and i > 0 and switched):
                return log
            if t > epoch:
                if i == 0:
                    return math.nan
                before, start, _ = self.rows[i - 1]
                share = (epoch - before) / (t - before)
                return (1 - share) * start + share * log
        return math.nan

    def crossing(self, sign, level, between):
        previous = None
        for t, log, switched in self.rows:
            if sign * log <= level:
                if previous is None or switched or not between:
                    return t
                before, start = previous
                return before + (sign * start - level) / (sign * start - sign * log) * (t - before)
            previous = t, log
        return math.nan


def naive_errors(runs, onsets, column, units, offsets, between, logs_at_onset=None):
    """Give for each held-out unit and offset the alarms by run, the median lag and the mean lead of the others."""
    curves = {name: Naive(run, column) for name, run in runs.items()}
    known = [name for name in runs if name in onsets]
    logs = logs_at_onset or {name: curves[name].at(onsets[name]) for name in known}
    depth = {name: runs[name]["depth"] for name in known}
    found = {}
    for held in sorted(set(units.values())):
        rest = [name for name in known if units[name] != held]
        usable = [name for name in rest if math.isfinite(logs[name])]
        conditions = sorted({depth[name] for name in usable})
        level = mean(mean(logs[n] for n in usable if depth[n] == c) for c in conditions)
        votes = 0
        for name in usable:
            before = [log > logs[name] for t, log, _ in curves[name].rows if t < onsets[name]]
            votes += np.sign(2 * sum(before) - len(before))
        sign = 1 if votes >= 0 else -1
        for place, offset in enumerate(offsets):
            alarm = {n: curves[n].crossing(sign, sign * level + offset + 1e-12, between) for n in runs}
            leads = [onsets[n] - alarm[n] for n in rest if not math.isnan(alarm[n])]
            found[held, place] = (
                alarm,
                median(leads) if leads else math.nan,
                mean(leads) if leads and 2 * len(leads) >= len(rest) else math.nan,
            )
    return found


def forecast(found, held, place, name, guess):
    alarm, lag, _ = found[held, place]
    value = alarm[name] + lag
    return guess if math.isnan(value) else value


def interval(values, conditions, level, least=-math.inf):
    """The t interval of the mean of what is known, over conditions where there are three, else over runs."""
    known = [(value, condition) for value, condition in zip(values, conditions, strict=True) if not math.isnan(value)]
    values, conditions = map(np.array, zip(*known, strict=True))
    about = {"cov_type": "cluster", "cov_kwds": {"groups": conditions}} if len(set(conditions)) > 2 else {}
    lo, hi = OLS(values, np.ones_like(values)).fit(**about, use_t=True).conf_int(1 - level)[0]
    return (max(lo, least), hi) if hi - lo > 1e-9 else (math.nan, math.nan)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("published", [False, True])
def test_errors_and_leads_are_those_of_the_loop(make_frames, make_run, seed, published):
    runs = messy_runs(make_run, seed)
    rule = OnsetRule(rule="first" if published else "sustained")
    frames = make_frames(runs)
    asked = Asked(runs=frames[0], epochs=frames[1], rule=rule)
    table = asked.onsets.set_index("run")
    usable = table[(table["state"] == "collapsed") & (table["fn_star"] > 0)]
    onsets, norms = usable["onset"].to_dict(), np.log(usable["fn_star"]).to_dict()
    ended = table[table["state"].isin(["censored", "unconfirmed"])]["censored_at"].to_dict()
    judged = {name: runs[name] for name in (*onsets, *ended)}
    results = lead_results(asked)
    assert len(onsets) >= 5
    assert len(ended) >= 2
    for held_out in ("run", "condition"):
        units = {n: n if held_out == "run" else str(runs[n]["depth"]) for n in judged}
        logs = [math.log1p(m) for m in MARGINS]
        own = naive_errors(judged, onsets, "feature_norm", units, logs, not published, norms)
        guess = {n: median(onsets[m] for m in onsets if units[m] != units[n]) for n in judged}
        for column in OBSERVED:
            rival = None
            if column != "feature_norm":
                rival = naive_errors(judged, onsets, column, units, np.log(MULTIPLES), not published)
            for place, margin in enumerate(MARGINS):
                errors, early, leads = [], [], []
                of_known = [runs[name]["depth"] for name in judged if name in onsets]
                for name in judged:
                    held, level, found = units[name], place, own
                    if rival is not None:
                        wanted = own[held, place][2]
                        distance = [abs(rival[held, k][2] - wanted) for k in range(len(MULTIPLES))]
                        nearest = min(d for d in distance if not math.isnan(d))
                        level = next(k for k, d in enumerate(distance) if d <= nearest + 1e-9 * (1 + abs(wanted)))
                        found = rival
                    said = forecast(found, held, level, name, guess[name])
                    if name in onsets:
                        errors.append(abs(said - onsets[name]))
                        leads.append(onsets[name] - found[held, level][0][name])
                    else:
                        early.append(max(0.0, ended[name] - said))
                baseline = "fn" if column == "feature_norm" else column
                (mae,) = [
                    r
                    for r in results
                    if (r.quantity, r.extra.get("held_out"), r.extra.get("margin"), r.extra.get("baseline"))
                    == ("mae", held_out, margin, baseline)
                ]
                assert mae.estimate == pytest.approx(mean(errors), abs=1e-6)
                assert (mae.lo, mae.hi) == pytest.approx(interval(errors, of_known, 0.99, 0.0), abs=1e-6, nan_ok=True)
                assert mae.extra["mean_lead"] == pytest.approx(np.nanmean(leads), abs=1e-6)
                assert mae.extra["n_fallback"] == sum(map(math.isnan, leads))
                assert mae.extra["hinge"] == pytest.approx(mean(early), abs=1e-6)
                assert (mae.extra["n_hinge"], mae.extra["n_overdue"]) == (len(early), sum(e > 0 for e in early))
                if column == "feature_norm":
                    (lead,) = [
                        r
                        for r in results
                        if (r.quantity, r.extra.get("held_out"), r.extra["margin"]) == ("lead", held_out, margin)
                    ]
                    assert (lead.lo, lead.hi) == pytest.approx(interval(leads, of_known, 0.95), abs=1e-6, nan_ok=True)
