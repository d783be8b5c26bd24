"""The alarms and trends of a messy pair of runs, evaluation by evaluation, without anything of ncdiag."""

import math
from statistics import mean

import numpy as np

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

    def below(self, sign, level):
        """Each evaluation, and whether the observable is at a level or beyond it then."""
        return [(t, sign * log <= level) for t, log, _ in self.rows]

    def outlook(self, now, sign, level):
        """When it was at a level by `now`, or will be by the line through the last fifth of the training, if ever."""
        seen = [(t, sign * log, switched) for t, log, switched in self.rows if t <= now]
        before = None
        for t, log, switched in seen:
            if log <= level:
                if before is None or switched:
                    return t
                return before[0] + (before[1] - level) / (before[1] - log) * (t - before[0])
            before = t, log
        return self.ahead(now, sign, level)

    def ahead(self, now, sign, level):
        """When it will be at a level by that line: `now` where the line is there already, never before."""
        seen = [(t, sign * log, switched) for t, log, switched in self.rows if t <= now]
        first = max([0, *(row for row, (*_, switched) in enumerate(seen) if switched)])
        recent = sum(t > 0.8 * seen[-1][0] for t, *_ in seen) if seen else 0
        used = seen[max(first, len(seen) - max(recent, 5)) :]
        if len(used) < 3:
            return math.nan
        slope, start = np.polyfit([t for t, *_ in used], [log for _, log, _ in used], 1)
        return max((level - start) / slope, used[-1][0]) if slope < 0 else math.nan


def level_and_sign(curves, runs, onsets, logs):
    """The mean over conditions of the logs at onset, and 1 where most runs fall towards theirs, -1 where they rise."""
    usable = [name for name in onsets if math.isfinite(logs[name])]
    conditions = sorted({runs[name]["depth"] for name in usable})
    level = mean(mean(logs[n] for n in usable if runs[n]["depth"] == c) for c in conditions)
    votes = 0
    for name in usable:
        before = [log > logs[name] for t, log, _ in curves[name].rows if t < onsets[name]]
        votes += np.sign(2 * sum(before) - len(before))
    return level, 1 if votes >= 0 else -1
