"""All forecast rules against each other, out of sample: what the winner is worth, and whether fn adds anything.

Runs are asked at fixed epochs, so every rule knows as much as the others and has the same lead: the epochs from the
question to the onset. The epochs are chosen so that the mean lead comes near to some shares of the mean onset.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import condition_labels, condition_numbers, replication_units
from ncdiag.analysis.courses import run_courses
from ncdiag.analysis.forecasts import MOST_RUNS, calibration_runs, spread_runs
from ncdiag.analysis.pairs import list_pairs, pair_base
from ncdiag.analysis.pooling import say_pooled
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.tournament_views import MIN_UNITS_HELD, WINNER, View, list_views
from ncdiag.domain.comparison import MIN_UNITS, less_variable
from ncdiag.domain.contenders import BASELINE, describe
from ncdiag.domain.result import Result
from ncdiag.domain.scatter import onset_scatter
from ncdiag.domain.shares import counted
from ncdiag.domain.statistics import FEW_GROUPS, FloatArray, clopper_pearson, group_means, grouped_t_interval

QUESTION = "forecast"
LEVELS = (0.8, 0.9)
ROUNDING = 1e-9  # of an epoch: forecasts are made on logarithms, and 660 comes back as 660.0000000001
_SILENT = 0.5  # a rule that is silent about more of the runs is not listed
CALIBRATION_COLUMNS = (
    *("run", "condition", "held_out", "epoch", "lead", "rule"),
    *("forecast", "lo", "hi", "level", "actual"),
)


def forecast_results(asked: Asked) -> list[Result]:
    """Give the results of each pair, in the order of the runs.

    `held_out` (in `extra`) is `condition` or `run`; `lead` is the mean lead in epochs, and `primary` marks that nearest
    to the published one. Quantities: `mae` of each `rule`, of the `winner` (chosen anew without each held-out part,
    with `mae_selected`, the flattered error of the rule that wins on all), `skill` of the winner = 1 - its MAE / MAE of
    the median, `fn_gain` = 1 - MAE of the mean of all rules / MAE without those of fn, `seed_spread`, the MAE that is
    left to who knows the expected onset of each condition, `noise_floor`, the MAE that the noise of the metric leaves
    to who knows the course of each run, and `coverage` of the winner's intervals.
    """
    return [result for pair in _pairs(asked) for result in pair.results()]


def calibration_table(asked: Asked) -> pd.DataFrame:
    """Give every held-out forecast of the winners with its interval, to be set against what happened.

    A row per run, way of holding out, epoch asked and level: the columns that make the pair; `run`; `condition`, named
    by what varies in the pair; `held_out`, `condition` or `run`; `epoch` asked at and mean `lead` then; `rule`, the
    winner without the held-out part; `forecast`, `lo`, `hi` and `actual`, the onset, in epochs (`hi` may be infinite);
    `level` of the interval.
    """
    rows: list[dict[str, Any]] = []
    for pair in _pairs(asked):
        names, labels = pair.table["run"].tolist(), condition_labels(pair.table)
        for view in pair.views:
            at_risk = np.flatnonzero(view.contest.landmark.at_risk).tolist()
            for level in LEVELS:
                for place, limits in enumerate(view.limits(level)):
                    rows.append(
                        {
                            **pair.base["group"],
                            "run": names[at_risk[place]],
                            "condition": labels[at_risk[place]],
                            "held_out": view.held_out,
                            "epoch": view.contest.landmark.now,
                            "lead": view.lead,
                            "rule": view.rules[place],
                            "forecast": limits.estimate,
                            "lo": limits.lo,
                            "hi": limits.hi,
                            "level": level,
                            "actual": float(view.onset[place]),
                        }
                    )
    return pd.DataFrame(rows, columns=[*asked.terms.by, *CALIBRATION_COLUMNS])


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """A pair of architecture and data set, its collapsed runs and the views of them."""

    table: pd.DataFrame
    views: tuple[View, ...]
    base: dict[str, Any]
    terms: Terms
    cautions: tuple[str, ...]

    def results(self) -> list[Result]:
        if not self.views:
            n = len(self.table)
            why = f"{counted(n, 'run')} with an onset; a contest of rules needs {MIN_UNITS_HELD}"
            if n >= MIN_UNITS_HELD:
                why = f"no evaluation lies before the onsets of {MIN_UNITS_HELD} runs, so none can be asked about them"
            return [Result(quantity="mae", status="too_few", warnings=(why,), level=self.terms.level, **self.base)]
        found = []
        for view in self.views:
            found += self._judge(view)
        for held_out in dict.fromkeys(view.held_out for view in self.views):
            views = [view for view in self.views if view.held_out == held_out]
            found += [_coverage(views, level, self.terms.level, self.base) for level in LEVELS]
        return found

    def _judge(self, view: View) -> list[Result]:
        contest, last = view.contest, view.contest.landmark.folds
        score, choice = contest.score[:, last, last], contest.handicapped[:, last, last]
        order = [
            place for place in np.argsort(choice, kind="stable").tolist() if contest.silent[place].mean() <= _SILENT
        ]
        best = contest.rules[order[0]]
        selected = _mae(view, best)
        found = [
            self._result(
                view,
                "mae",
                estimate=_mae(view, WINNER),
                method="the rule chosen without the part that is held out",
                warnings=self.cautions,
                extra={"rule": WINNER, "chosen": best, "chosen_held_out": view.rules, "mae_selected": selected},
            )
        ]
        for rank, place in enumerate(order, start=1):
            rule = contest.rules[place]
            said = {"rule": rule, "rank": rank, "score": float(score[place])}
            found.append(self._result(view, "mae", estimate=_mae(view, rule), method=describe(rule), extra=said))
        found.append(self._compared(view, "skill", WINNER, BASELINE))
        found += [
            self._compared(view, "skill", contest.rules[place], BASELINE)
            for place in order
            if place != contest.place(BASELINE)
        ]
        found.append(self._compared(view, "fn_gain", "mean", "mean_without_fn"))
        found += [self._seed_spread(view), self._noise_floor(view)]
        return found

    def _seed_spread(self, view: View) -> Result:
        """Give how far runs are from what is expected of their condition: what hyperparameters cannot tell.

        The mean of m seeds lies nearer to each of them than that does, by sqrt((m - 1) / m).
        """
        _, member, sizes = np.unique(view.conditions, return_inverse=True, return_counts=True)
        m = sizes[member]
        several = m > 1
        if not several.any():
            return self._result(view, "seed_spread", status="not_testable", warnings=("no condition has two runs",))
        away = np.abs(view.onset - group_means(view.onset, member)[member])[several]
        spread = float((away * np.sqrt(m[several] / (m[several] - 1))).mean())
        method = "mean |onset - mean of its condition|, times sqrt(m / (m - 1)) for m seeds"
        return self._result(view, "seed_spread", estimate=spread, method=method)

    @cached_property
    def _moved(self) -> FloatArray:
        """How far noise alone moves the onset of each run, by its own noise and slope; see `onset_scatter`."""
        rule = self.terms.rule
        columns = (self.table[name].to_numpy(dtype=np.float64).tolist() for name in ("noise", "slope", "lo", "hi"))
        return np.array(
            [
                (hi - lo) * onset_scatter(noise, slope * (hi - lo), rule.needed, between=rule.between)
                for noise, slope, lo, hi in zip(*columns, strict=True)
            ]
        )

    def _noise_floor(self, view: View) -> Result:
        """Give the mean of what noise alone moves the onsets of the runs at risk."""
        moved = self._moved[view.contest.landmark.at_risk]
        known = np.isfinite(moved)
        if not known.any():
            return self._result(view, "noise_floor", status="not_testable", warnings=("no noise was measured",))
        method = f"first passage of a straight line with the noise of each run, {known.sum()} runs"
        return self._result(view, "noise_floor", estimate=float(moved[known].mean()), method=method)

    def _compared(self, view: View, quantity: str, rule: str, against: str) -> Result:
        """Compare two forecasts of the same runs: 1 - MAE / MAE, with a t interval over groups of its numerator."""
        onset = view.onset
        own, other = view.forecasts(rule) - onset, view.forecasts(against) - onset
        base = float(np.abs(other).mean())
        conditions = len(np.unique(view.conditions))
        unit, over = replication_units(view.conditions, FEW_GROUPS)
        extra: dict[str, Any] = {"rule": rule, "baseline": against, "n_tested": len(np.unique(unit)), "over": over}
        if base <= ROUNDING * float(onset.mean()):
            return self._result(view, quantity, status="zero_variance", extra=extra)
        gain = grouped_t_interval(np.abs(other) - np.abs(own), unit, self.terms.level)
        primary = view.primary and rule == WINNER
        said: dict[str, Any] = {"p": np.nan, "status": "ok"}
        pooled = ("the interval of what fn adds" if quantity == "fn_gain" else "the interval") if over == "runs" else ""
        if primary:
            unit, tested_over = replication_units(view.conditions, MIN_UNITS)
            test = less_variable(group_means(own, unit), group_means(other, unit))
            said |= {"p": test.p, "status": test.status}
            extra |= {"p_min": test.p_min, "primary_test": True}
            pooled = "the test" if tested_over == "runs" else ""
        test_words = "Pitman-Morgan test, one-sided" if primary else "exploratory, no test"
        return self._result(
            view,
            quantity,
            estimate=gain.estimate / base,
            lo=gain.lo / base,
            hi=min(gain.hi / base, 1.0) if np.isfinite(gain.hi) else np.nan,
            method=f"1 - MAE / MAE of {against}; t interval over {extra['n_tested']} {over}; {test_words}",
            warnings=(say_pooled(pooled, conditions),) if pooled and conditions > 1 else (),
            extra=extra,
            **said,
        )

    def _result(self, view: View, quantity: str, **said: Any) -> Result:
        extra = {
            "held_out": view.held_out,
            "epoch": view.contest.landmark.now,
            "lead": view.lead,
            "primary": view.primary,
            "n_asked": len(view.onset),
            **said.pop("extra", {}),
        }
        return Result(quantity=quantity, level=self.terms.level, extra=extra, **said, **self.base)


def _mae(view: View, rule: str) -> float:
    return float(np.abs(view.forecasts(rule) - view.onset).mean())


def _coverage(views: list[View], nominal: float, level: float, base: dict[str, Any]) -> Result:
    """Count the onsets inside their intervals, at all epochs asked, each condition with the same weight.

    The limits are those of as many conditions, of which the mean share held; below three conditions runs take their
    place. A forecast without an interval,
    such as one from runs that do not differ, is not counted. `width` is the median width of the intervals, in epochs,
    and `guess_width` that of intervals about the median onset of the other runs, made in the same way.
    """
    unit, inside, widths, guess_widths = [], [], [], []
    over = "conditions" if len({own for view in views for own in view.conditions.tolist()}) >= FEW_GROUPS else "runs"
    for view in views:
        at_risk = np.flatnonzero(view.contest.landmark.at_risk)
        units = view.conditions if over == "conditions" else at_risk
        limits, guesses = view.limits(nominal), view.limits(nominal, BASELINE)
        for own, onset, each, guess in zip(units.tolist(), view.onset.tolist(), limits, guesses, strict=True):
            if not math.isnan(each.lo):
                unit.append(own)
                inside.append(each.lo * (1 - ROUNDING) <= onset <= each.hi * (1 + ROUNDING))
                widths.append(each.hi - each.lo)
                guess_widths.append(guess.hi - guess.lo)
    extra: dict[str, Any] = {"held_out": views[0].held_out, "nominal": nominal, "inside": sum(inside)}
    extra["n_asked"] = len(inside)
    if not inside:
        return Result(quantity="coverage", level=level, status="not_testable", extra=extra, **base)
    shares = group_means(np.array(inside, dtype=np.float64), np.array(unit, dtype=np.int64))
    share, n = float(shares.mean()), len(shares)
    limits_of_share = clopper_pearson(round(float(shares.sum()), 9), n, level)  # 3 x 1/3 must be 1
    what = f"{n} {over}"
    return Result(
        quantity="coverage",
        estimate=share,
        lo=limits_of_share.lo,
        hi=limits_of_share.hi,
        level=level,
        method=f"mean over {what}; Clopper-Pearson for {what}, of which that share (also of one) held: "
        f"the {len(inside)} forecasts are no sample of their own",
        extra={**extra, "n_units": n, "over": over, "width": median(widths), "guess_width": median(guess_widths)},
        **base,
    )


def _pairs(asked: Asked) -> Iterator[_Pair]:
    for pair in list_pairs(asked.onsets, asked.terms.by):
        collapsed = pair[pair["state"] == "collapsed"]
        table = spread_runs(collapsed.assign(condition=condition_numbers(collapsed)))
        table["condition"] = conditions = condition_numbers(table)
        base = {**pair_base(QUESTION, pair, asked.terms.by), "n_conditions": int(conditions.max(initial=-1)) + 1}
        views: tuple[View, ...] = ()
        if len(table) >= MIN_UNITS_HELD:
            epochs = asked.epochs[asked.epochs["run"].isin(table["run"])]
            runs = calibration_runs(table, run_courses(epochs, asked.terms.rule.metric))
            views = tuple(list_views(runs, np.unique(epochs["epoch"].to_numpy(dtype=np.float64)), asked.terms.rule))
        cut = f"of {len(collapsed)} runs with an onset only {MOST_RUNS} take part, the largest seeds of every condition"
        cautions = (cut,) if len(table) < len(collapsed) else ()
        yield _Pair(
            table=table,
            views=views,
            base=base,
            terms=asked.terms,
            cautions=cautions,
        )


def forecast_family(result: Result) -> str | None:
    """Name the family of the one test of each pair that was fixed beforehand: the winner against guessing."""
    return result.extra["held_out"] if result.extra.get("primary_test") else None
