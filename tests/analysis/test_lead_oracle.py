"""The alarms of a messy pair against a loop over runs, folds and levels, evaluation by evaluation."""

import math
from statistics import mean, median

import numpy as np
import pytest
from naive_lead import OBSERVED, Naive, level_and_sign, messy_runs
from scipy import stats
from statsmodels.api import OLS

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.lead_data import MULTIPLES
from ncdiag.analysis.leads import lead_results
from ncdiag.analysis.terms import Terms
from ncdiag.domain.lead import MARGINS
from ncdiag.domain.onset_rule import OnsetRule


def naive_errors(runs, onsets, column, units, offsets, between, logs_at_onset=None):
    """Give for each held-out unit and offset the alarms by run, the median lag and mean lead of the others, the level.

    The level comes with its direction, 1 for a fall to it and -1 for a rise, by which it is multiplied.
    """
    curves = {name: Naive(run, column) for name, run in runs.items()}
    known = [name for name in runs if name in onsets]
    logs = logs_at_onset or {name: curves[name].at(onsets[name]) for name in known}
    found = {}
    for held in sorted(set(units.values())):
        rest = [name for name in known if units[name] != held]
        level, sign = level_and_sign(curves, runs, {name: onsets[name] for name in rest}, logs)
        for place, offset in enumerate(offsets):
            alarm = {n: curves[n].crossing(sign, sign * level + offset + 1e-12, between) for n in runs}
            leads = [onsets[n] - alarm[n] for n in rest if not math.isnan(alarm[n])]
            found[held, place] = (
                alarm,
                median(leads) if leads else math.nan,
                mean(leads) if leads and 2 * len(leads) >= len(rest) else math.nan,
                (sign, sign * level + offset + 1e-12),
            )
    return found


def forecast(found, held, place, name, guess):
    alarm, lag, *_ = found[held, place]
    value = alarm[name] + lag
    return guess if math.isnan(value) else value


def confirmed(below, rule):
    """The evaluation at which a run has been at or below a level for long enough; None if it never was."""
    streak = 0
    for epoch, is_below in below:
        streak = streak + 1 if is_below else 0
        if streak == (1 if rule.rule == "first" else rule.patience):
            return epoch
    return None


def entries(below):
    """How often a run comes to be at or below a level; to begin there counts."""
    return sum(here and not before for (_, here), (_, before) in zip(below, [(0, False), *below], strict=False))


def interval(values, conditions, level, least=-math.inf):
    """The t interval of the mean of what is known, over conditions where there are three, else over runs."""
    known = [(value, condition) for value, condition in zip(values, conditions, strict=True) if not math.isnan(value)]
    values, conditions = map(np.array, zip(*known, strict=True))
    sizes = [len(values[conditions == own]) for own in set(conditions)]
    few = len(sizes) < 3
    about = {} if few else {"cov_type": "cluster", "cov_kwds": {"groups": conditions}}
    (error,) = OLS(values, np.ones_like(values)).fit(**about, use_t=True).bse
    df = len(values) - 1 if few else len(values) ** 2 / sum(size**2 for size in sizes) - 1
    half = stats.t.ppf((1 + level) / 2, df) * error
    mean = values.mean()
    return (max(mean - half, least), mean + half) if half > 1e-9 else (math.nan, math.nan)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("published", [False, True])
def test_errors_and_leads_are_those_of_the_loop(make_frames, make_run, seed, published):
    runs = messy_runs(make_run, seed)
    rule = OnsetRule(rule="first" if published else "sustained")
    frames = make_frames(runs)
    asked = Asked(runs=frames[0], epochs=frames[1], terms=Terms(rule=rule))
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
                    below = {n: Naive(runs[n], column).below(*own[units[n], place][3]) for n in onsets}
                    never = sum(map(math.isnan, leads))
                    # an alarm that never came would have come after the end
                    most = [
                        onsets[n] - below[n][-1][0] if math.isnan(at) else at
                        for n, at in zip(onsets, leads, strict=True)
                    ]
                    # an alarm that is there at the first evaluation came at an epoch nobody knows
                    seen = [math.nan if below[n][0][1] else at for n, at in zip(onsets, most, strict=True)]
                    limits = interval(seen, of_known, 0.95)
                    limits = (-math.inf, limits[1]) if never else limits
                    assert (lead.lo, lead.hi) == pytest.approx(limits, abs=1e-6, nan_ok=True)
                    known = {name: at for name, at in zip(onsets, seen, strict=True) if not math.isnan(at)}
                    quartiles = [lead.extra[name] for name in ("q25", "median", "q75")]
                    assert quartiles == pytest.approx(np.quantile([*known.values()], [0.25, 0.5, 0.75]), abs=1e-6)
                    assert (lead.extra["n_crossed"], lead.extra["n_never"]) == (len(leads) - never, never)
                    assert lead.extra["share_positive"] == pytest.approx(mean(at > 0 for at in known.values()))
                    silent = {n for n, at in zip(onsets, leads, strict=True) if math.isnan(at)}
                    ranked = {n: -math.inf if n in silent else at for n, at in known.items()}
                    of_depth = [[at for n, at in ranked.items() if runs[n]["depth"] == d] for d in (3, 4, 5)]
                    ahead = [median(each) > 0 for each in of_depth if each and median(each)]
                    p = stats.binomtest(sum(ahead), len(ahead), 0.5, "greater").pvalue if ahead else math.nan
                    assert lead.p == pytest.approx(p, nan_ok=True)
                    assert lead.extra.get("p_min", 1) == 0.5 ** len(ahead)
                    rates = {
                        r.quantity: r
                        for r in results
                        if r.quantity in ("sensitivity", "specificity")
                        and (r.extra["held_out"], r.extra["margin"]) == (held_out, margin)
                    }
                    assert rates["sensitivity"].estimate == pytest.approx(mean(at >= 0 for at in leads))
                    quiet = [n for n in ended if table["state"][n] == "censored"]
                    loud = [n for n in quiet if not math.isnan(own[units[n], place][0][n])]
                    assert rates["specificity"].estimate == pytest.approx(1 - len(loud) / len(quiet))
                    overdue = [n for n in loud if forecast(own, units[n], place, n, guess[n]) < ended[n]]
                    counts = ("crossed_collapsed", "missed_collapsed", "crossed_censored", "overdue_censored")
                    caught = sum(at >= 0 for at in leads)
                    assert [rates["sensitivity"].extra[name] for name in counts] == [
                        *(caught, len(leads) - caught),
                        *(len(loud), len(overdue)),
                    ]
                    sure = [onsets[n] - confirmed(below[n], rule) for n in known if confirmed(below[n], rule)]
                    assert lead.extra["actionable"] == pytest.approx(mean(sure), abs=1e-6)
                    assert lead.extra["actionable_median"] == pytest.approx(median(sure), abs=1e-6)
                    assert lead.extra["n_left_censored"] == sum(each[0][1] for each in below.values())
                    assert lead.extra["n_several"] == sum(entries(each) > 1 for each in below.values())


@pytest.mark.parametrize("seed", range(3))
def test_the_trend_of_the_metric_is_read_when_the_alarm_of_fn_comes(make_frames, make_run, seed):
    """ln NC1 bends, so that its trend depends on when it is seen: at the first evaluation from the alarm on.

    It dips now and then, which is no onset to come. Where the onset is past by then, the forecast is that of fn.
    """
    rng, runs = np.random.default_rng(seed), messy_runs(make_run, seed)
    for name, run in runs.items():
        t, rate = np.array(run["epoch"]), 200.0 if name in ("r7", "r8", "tiny") else 15.0 + int(name[1:])
        run["nc1"] = np.exp(-((t / rate) ** 1.5) - 4 * (rng.random(len(t)) < 0.05)).tolist()
    frames = make_frames(runs)
    asked = Asked(runs=frames[0], epochs=frames[1], terms=Terms())
    table = asked.onsets.set_index("run")
    usable = table[(table["state"] == "collapsed") & (table["fn_star"] > 0)]
    onsets, norms = usable["onset"].to_dict(), np.log(usable["fn_star"]).to_dict()
    judged = {name: runs[name] for name in (*onsets, *table.index[table["state"].isin(["censored", "unconfirmed"])])}
    results = lead_results(asked)
    for held_out in ("run", "condition"):
        units = {n: n if held_out == "run" else str(runs[n]["depth"]) for n in judged}
        own = naive_errors(judged, onsets, "feature_norm", units, [math.log1p(m) for m in MARGINS], True, norms)
        for place, margin in enumerate(MARGINS):
            errors, told = [], []
            for name, onset in onsets.items():
                others = [onsets[m] for m in onsets if units[m] != units[name]]
                alarm, metric = own[units[name], place][0][name], Naive(runs[name], "nc1")
                seen = min((t for t, *_ in metric.rows if t >= alarm), default=metric.rows[-1][0])
                last = [log for t, log, _ in metric.rows if t <= seen][-1]
                said = seen if last <= math.log(0.01) else metric.ahead(seen, 1, math.log(0.01))
                said = said if not math.isnan(alarm) and said <= 2 * max(others) else median(others)
                if not math.isnan(alarm) and seen >= onset:
                    said = forecast(own, units[name], place, name, median(others))
                errors.append(abs(said - onset))
                told.append(runs[name]["depth"] if seen < onset and not math.isnan(alarm) else None)
            wanted = {"held_out": held_out, "margin": margin, "baseline": "nc1_trend"}
            found = {r.quantity: r for r in results if wanted.items() <= r.extra.items()}
            assert found["mae"].estimate == pytest.approx(mean(errors), abs=1e-6)
            told = [depth for depth in told if depth]  # three of them: the test is over runs
            assert (found["skill"].extra["n_tested"], found["skill"].extra["over"]) == (len(told), "runs")
