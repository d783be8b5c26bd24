"""The contest of forecast rules as docs/statistics.md defines it, by loops over runs, folds, rules and evaluations.

Nothing here is shared with ncdiag: runs are left out by leaving them out, and everything is fitted anew each time.
"""

import math
from collections import Counter
from functools import cache
from statistics import mean, median

import numpy as np
from scipy import stats

MEANS = ("mean_without_fn", "mean")
TRENDS = {"trend": (0.2, False), "trend_phase": (1.0, False), "trend_robust": (0.2, True)}
MARGINS = {"fn": 0.0, "fn+5%": 0.05, "fn+10%": 0.1, "fn+25%": 0.25, "fn+50%": 0.5}


class Run:
    """A run as lists of (epoch, logarithm, phase) by observable; `onset` is NaN for the one that is forecast."""

    def __init__(self, course, unit, condition=None, onset=math.nan, norm=math.nan):
        self.unit, self.condition, self.onset, self.norm = unit, condition, onset, norm
        self.seen = {
            name: list(zip(c.epoch.tolist(), c.log.tolist(), np.cumsum(c.switched).tolist(), strict=True))
            for name, c in course.curves.items()
        }

    def until(self, name, now):
        return [point for point in self.seen.get(name, []) if point[0] <= now]

    @cache  # noqa: B019
    def levels(self, name):
        """For each evaluation the end of the line through the last ten of its phase."""
        found = []
        for row, (epoch, log, phase) in enumerate(self.seen.get(name, [])):
            window = [p for p in self.seen[name][max(row - 9, 0) : row + 1] if p[2] == phase]
            t, y = np.array(window).T[:2]
            end = np.polyfit(t - epoch, y, 1)[1] if len(window) > 1 else log
            found.append((epoch, round(float(end), 9), phase))
        return found

    @cache  # noqa: B019
    def lowest(self, name, phase, sign):
        """The evaluations of a phase at which the level was lower (sign -1: higher) than ever before in it."""
        course = [(epoch, sign * level, phase) for epoch, level, own in self.levels(name) if own == phase]
        return [p for row, p in enumerate(course) if all(p[1] < before[1] for before in course[:row])]

    def level(self, name, now):
        return next((found for found in reversed(self.levels(name)) if found[0] <= now), None)


def trend(points, share=0.2, robust=False):
    """Start and slope of the line through the last fifth of the training, at least five rows, within the phase."""
    recent = [p for p in points if p[0] > (1 - share) * points[-1][0]] if points else []
    used = [p for p in points[-max(len(recent), 5) :] if p[2] == points[-1][2]]
    if len(used) < 3:
        return math.nan, math.nan
    t, y = np.array(used[-60:] if robust else used).T[:2]
    if not robust:
        return tuple(np.polyfit(t, y, 1)[::-1])
    slope = median((y[j] - y[i]) / (t[j] - t[i]) for i in range(len(t)) for j in range(i + 1, len(t)))
    return median((y - slope * t).tolist()), slope


def reach(points, line, level):
    """The epoch at which points first are at a level, or, ahead of them, a line is; NaN if neither."""
    for row, (epoch, log, phase) in enumerate(points):
        if log <= level:
            before = points[row - 1]
            if row == 0 or before[2] != phase:
                return epoch
            return before[0] + (epoch - before[0]) * (before[1] - level) / (before[1] - log)
    return max((level - line[0]) / line[1], points[-1][0]) if line[1] < 0 else math.nan


def median_of(values):
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def ridge(rows, onsets, row, shrinkage):
    """Least squares on standardised columns with `shrinkage` x n added to the squares; NaN below four rows."""
    if len(onsets) < 4 or not row:
        return math.nan
    x, y = np.array(rows), np.array(onsets)
    scale = x.std(axis=0)
    scale[scale < 1e-7] = np.inf
    z = (x - x.mean(axis=0)) / scale
    more = math.sqrt(shrinkage * len(y)) * np.eye(len(scale))
    b = np.linalg.lstsq(np.vstack([z, more]), np.concatenate([y - y.mean(), np.zeros(len(scale))]), rcond=None)[0]
    return float(y.mean() + (np.array(row) - x.mean(axis=0)) / scale @ b)


class Contest:
    """All rules at one epoch; `target` is a further run, whose onset is not known, or None."""

    def __init__(self, runs, now, log_eps, target=None):
        self.runs, self.now, self.log_eps, self.target = runs, now, log_eps, target
        later = [share * now for share in (1.05, 1.1, 1.2)]
        self.epochs = [now, *(at for at in later if sum(run.onset > at for run in runs) > 1)]
        names = sorted({name for run in self.asked(now) for name in run.seen})
        levels = [f"{name} level" for name in names]
        regressions = ["level_trend", "regression", "regression_without_fn"]
        self.simple = ["median", "phase", "learned", *TRENDS, *MARGINS, *levels, *regressions]
        self.rules = [*self.simple, *MEANS]

    def asked(self, at):
        return [run for run in self.runs if run.onset > at] + ([self.target] if self.target and at == self.now else [])

    @cache  # noqa: B019
    def reading(self, rule, run, at, level=None):
        if rule == "phase":
            seen = run.until("nc1", at)
            return next((p[0] for p in seen if p[2] == seen[-1][2]), math.nan) if seen and seen[-1][2] else math.nan
        if rule == "learned":
            return next((p[0] for p in run.until("train_accuracy", at) if p[1] >= math.log(0.999)), math.nan)
        if rule == "norm":
            seen = run.until("feature_norm", at)
            found = reach(seen, trend(seen), level)
            return max(found, 1.0) if found <= 3 * at else math.nan
        seen = run.until("nc1", at)
        found = reach(seen, trend(seen, *TRENDS[rule]), self.log_eps)
        return max(found, at) if found <= 3 * at else math.nan

    @cache  # noqa: B019
    def raw(self, rule, run, without, at):
        """The ln onset that a rule forecasts from the runs outside a unit and the run's own; NaN where it is silent."""
        others = [other for other in self.runs if other.unit not in (without, run.unit)]
        risk = [other for other in others if other.onset > at]
        if rule == "median":
            return math.log(median(other.onset for other in risk)) if risk else math.nan
        if rule in ("phase", "learned", *TRENDS, *MARGINS):
            name, level = rule, None
            if rule in MARGINS:
                logs = [
                    mean(math.log(o.norm) for o in others if o.condition == c) for c in {o.condition for o in others}
                ]
                name, level = "norm", mean(logs) + math.log1p(MARGINS[rule])
            ratios = [math.log(other.onset / self.reading(name, other, at, level)) for other in risk]
            return math.log(self.reading(name, run, at, level)) + median_of(ratios)
        if rule.endswith(" level"):
            return self.by_level(rule.removesuffix(" level"), run, others, risk, at)
        return self.by_regression(rule, run, risk, at)

    def by_level(self, name, run, others, risk, at):
        own = run.level(name, at)
        if own is None:
            return math.nan
        ways = [np.sign(o.level(name, at)[1] - o.level(name, o.onset)[1]) for o in risk if o.level(name, at)]
        sign = -1 if ways and mean(ways) < 0 else 1
        ratios = []
        for other in others:
            lowest = other.lowest(name, own[2], sign)
            if lowest and lowest[0][0] < other.onset:
                there = reach(lowest, (0.0, 0.0), sign * own[1])
                ratios.append(math.log(other.onset / np.fmin(there, other.onset)))
        return math.log(own[0]) + mean(ratios) if ratios else math.nan

    def by_regression(self, rule, run, risk, at):
        onsets = [math.log(other.onset) for other in risk]
        if rule == "level_trend":

            def row(of):
                says = self.reading("trend", of, at) / at
                return [of.level("nc1", at)[1], math.log(np.fmin(says, 1.5))]

            return ridge([row(other) for other in risk], onsets, row(run), 0.3)
        names = sorted({name for each in self.asked(at) for name in each.seen})
        if rule == "regression_without_fn":
            names = [name for name in names if not name.startswith("feature_norm")]
        names = [name for name in names if all(each.level(name, at) for each in self.asked(at))]
        rows = [[each.level(name, at)[1] for name in names] for each in (*risk, run)]
        return ridge(rows[:-1], onsets, rows[-1], 1.0)

    @cache  # noqa: B019
    def log(self, rule, run, without, at=None):
        """The forecast: the median's where the rule is silent, from now to 1.5 times the latest other onset."""
        at = self.now if at is None else at
        if rule in MEANS:
            weights = self.weights(rule, without, run.unit)
            return sum(weight * self.log(each, run, without, at) for each, weight in weights.items())
        found = self.raw(rule, run, without, at)
        found = self.raw("median", run, without, at) if math.isnan(found) else found
        onsets = [o.onset for o in self.runs if o.unit not in (without, run.unit) and o.onset > at]
        found = min(found, math.log(1.5 * max(onsets))) if onsets else found
        return max(found, math.log(at))

    @cache  # noqa: B019
    def score(self, rule, without, second):
        """The error beside that of the median over the runs outside two units, the mean over the epochs."""
        found = []
        for at in self.epochs:
            held = [run for run in self.runs if run.onset > at and run.unit not in (without, second)]
            errors = [
                sum(abs(self.log(each, run, without, at) - math.log(run.onset)) for run in held)
                for each in (rule, "median")
            ]
            if held:
                found.append(errors[0] / errors[1])
        return mean(found) if found else 1.0

    @cache  # noqa: B019
    def weights(self, rule, without, second):
        scores = {each: self.score(each, without, second) for each in self.simple[1:]}
        if rule == "mean_without_fn":
            scores = {r: s for r, s in scores.items() if not r.startswith(("fn", "feature_norm")) and r != "regression"}
        found = {each: score**-4 for each, score in scores.items() if score < 1}
        return {each: weight / sum(found.values()) for each, weight in found.items()} if found else {"median": 1.0}

    def winner(self, run, without, second):
        """The rule that answers for a run, the best on the runs outside two units; single rules have a handicap."""
        scores = {}
        for rule in self.rules:
            free = rule in ("median", *MEANS)
            if free or not math.isnan(self.raw(rule, run, None, self.now)):
                scores[rule] = self.score(rule, without, second) * (1.0 if free else 1.5)
        return next(rule for rule, score in scores.items() if score <= min(scores.values()) + 1e-9)

    def limits(self, run, level, censored, *, by_condition):
        """The interval from the held-out errors of winners, each chosen without its own unit; ln onset."""
        others = [other for other in self.asked(self.now) if other.unit != run.unit]
        errors = [math.log(o.onset) - self.log(self.winner(o, run.unit, o.unit), o, run.unit) for o in others]
        fitted = [self.log(self.winner(run, run.unit, other.unit), run, other.unit) for other in others]
        units = [o.condition if by_condition else place for place, o in enumerate(others)]
        enough = max(9, math.ceil(level / (1 - level) - 1e-9))
        if len(set(units)) >= enough:
            lo, hi = jackknife_plus(fitted, list(map(abs, errors)), units, level)
        else:
            without = None if run is self.target else run.unit
            log = self.log(self.winner(run, without, run.unit), run, without)
            half = two_level_half(errors, units, level)
            lo, hi = log - half, log + half
            if (count := len(set(units))) >= 9:
                widest = jackknife_plus(fitted, list(map(abs, errors)), units, count / (count + 1))
                lo, hi = min(lo, widest[0]), max(hi, widest[1])
        if not censored:
            return lo, hi
        further = [unit if by_condition else len(others) + place for place, (_, unit) in enumerate(censored)]
        sizes = Counter([*units, *further])
        weights = weights_of_all(
            [other.onset for other in others],
            [end for end, _ in censored],
            [1 / sizes[unit] for unit in (*units, *further)],
        )
        totals = Counter()
        for unit, weight in zip((*units, *further), weights, strict=True):
            totals[unit] += weight
        n = sum(weights) ** 2 / sum(total**2 for total in totals.values())
        never = sum(weights[len(others) :]) / sum(weights)
        if n < 0.8 * sum(total > 0 for total in totals.values()):
            return lo, math.inf
        if len(set(units)) < 9:
            return lo, math.inf if never > (1 - level) / 2 else hi
        if min(len(set(units)), n) < enough:
            most = max(math.inf if never else log + abs(error) for log, error in zip(fitted, errors, strict=True))
            return lo, max(hi, most)
        # Limits of errors in both directions: those that never collapse, which lie above, stand for as many below.
        reached, wanted = 0.0, level + never * n / (n + 1)
        above = sorted((log + abs(error), place) for place, (log, error) in enumerate(zip(fitted, errors, strict=True)))
        for value, place in above:
            reached += weights[place] / sum(weights) * n / (n + 1)
            if reached >= wanted - 1e-9:
                return lo, value
        return lo, math.inf


def weights_of_all(onsets, ends, weights):
    """Divide the weight of each run by the share of runs that are followed as long (inverse probability of censoring).

    That share is the Kaplan-Meier estimate with onsets and ends in each other's place; a run that ended before the last
    onset has no weight left, and one that outlasted it that of its time.
    """
    last, found = max(onsets), []
    runs = [(time, True) for time in onsets] + [(time, False) for time in ends]
    for (time, collapsed), weight in zip(runs, weights, strict=True):
        followed = 1.0
        for end in sorted({end for end in ends if end < min(time, last)}):
            gone = sum(w for run, w in zip(runs, weights, strict=True) if run == (end, False))
            there = gone + sum(w for run, w in zip(runs, weights, strict=True) if run[0] > end)
            followed *= 1 - gone / there
        found.append(weight / followed if collapsed or time >= last else 0.0)
    return found


def jackknife_plus(fitted, errors, units, level):
    sizes = Counter(units)

    def limit(values):
        weight = 0.0
        for value, unit in sorted(zip(values, units, strict=True)):
            weight += 1 / (sizes[unit] * (len(sizes) + 1))
            if weight >= level - 1e-9:
                return value
        return math.inf

    pairs = list(zip(fitted, errors, strict=True))
    return -limit([error - log for log, error in pairs]), limit([log + error for log, error in pairs])


def two_level_half(errors, units, level):
    groups = [[e for e, u in zip(errors, units, strict=True) if u == unit] for unit in dict.fromkeys(units)]
    k, df = len(groups), len(errors) - len(groups)
    variance = sum(mean(group) ** 2 for group in groups) / (k - 1)
    if df:
        within = sum((e - mean(group)) ** 2 for group in groups for e in group) / df
        variance += (1 - sum(1 / len(group) for group in groups) / k) * within
    return stats.t.ppf((1 + level) / 2, k - 1) * math.sqrt(variance)
