"""Whether the intervals of a forecast hold what they say, on worlds whose truth is known and on conditions never seen.

In each trial runs of some conditions are drawn, and one more run, of a known or of a new condition, is forecast.
"""

import itertools
import math

import numpy as np
import pytest
from clihelp import ROOT
from forecast_worlds import EMPTY, landmark, world
from scipy import stats
from typer.main import get_command

from ncdiag.analysis.asked import Asked
from ncdiag.analysis.conditions import condition_numbers
from ncdiag.analysis.terms import Terms
from ncdiag.analysis.tournament import LEVELS, calibration_table
from ncdiag.cli.app import app
from ncdiag.domain.forecast import forecast_onset
from ncdiag.domain.landmark import CalibrationRun, CensoredRun
from ncdiag.domain.prediction import predictions
from ncdiag.domain.tournament import hold_contest
from ncdiag.store.engine import open_store
from ncdiag.store.frames import epochs_frame, runs_frame

pytestmark = pytest.mark.slow

TRIALS = 200
# The condition that is forecast, and runs of others.
NEW = [[0, *np.repeat(np.arange(1, 1 + n), seeds).tolist()] for n, seeds in ((3, 2), (4, 3), (6, 3), (10, 2))]


@pytest.mark.parametrize(
    ("kind", "conditions"),
    [
        *itertools.product(("nc1", "fn", "clock"), ([0] * 4, [0] * 7, [0] * 12, *NEW)),
        *itertools.product(("shapes",), NEW),
    ],
    ids=str,
)
def test_intervals_cover_in_every_world(kind, conditions):
    """Not short of the level by more than 5 points, within what so many trials can tell; prints what was found."""
    rng, now, new = np.random.default_rng(2), 110.0, len(set(conditions)) > 1
    inside = {level: [] for level in LEVELS}
    for _ in range(TRIALS):
        target, *others = world(rng, kind, conditions)
        at_risk = [other for other in others if other.onset > now]
        if target.onset > now and len({other.condition for other in at_risk} if new else at_risk) >= 2 + new:
            units = [other.condition for other in others] if new else None
            contest = hold_contest(landmark(others, now, units=units, target=target.course))
            found = predictions(contest, contest.landmark.folds)
            for level, so_far in inside.items():
                (limits,), _ = found.limits(level, (), by_condition=new)
                so_far.append(limits.lo <= target.onset <= limits.hi)
    for level, covered in inside.items():
        said = f"{kind}, {len(conditions) - 1} runs of {len(set(conditions)) - new}"
        print(f"\n{said}: a nominal {level:.0%} covers {np.mean(covered):.3f} of {len(covered)}")
        assert stats.binomtest(sum(covered), len(covered), level - 0.05, alternative="less").pvalue > 0.01


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The 290 runs of the digits study: 21 conditions with an onset, from depth 2 to 9, tanh, and a constant rate."""
    path = tmp_path_factory.mktemp("study") / "digits.db"
    data = ROOT / "docs/study/digits"
    words = ["import", str(data / "epochs.csv.gz"), "--manifest", str(data / "runs.csv.gz"), "--store", str(path)]
    get_command(app).main(words, standalone_mode=False)
    with open_store(str(path)) as store:
        return runs_frame(store), epochs_frame(store)


@pytest.mark.parametrize(("conditions", "seeds"), [(5, 3), (8, 3), (14, 2)])
def test_intervals_cover_new_conditions_of_the_digits_study(study, conditions, seeds):
    """Some conditions are drawn, with some runs of each; each condition is forecast from the others, at five leads.

    The draws share conditions, so the share inside is held against the level by its spread over the conditions.
    """
    runs, epochs = study
    onsets = Asked(runs=runs, epochs=epochs, terms=Terms()).onsets
    collapsed = onsets[onsets["state"] == "collapsed"]
    number = condition_numbers(collapsed)
    number_of = dict(zip(collapsed["run"], number.tolist(), strict=True))
    several = np.flatnonzero(np.bincount(number) >= seeds)
    rng, tables = np.random.default_rng(conditions), []
    for _ in range(15):
        drawn = rng.choice(several, conditions, replace=False)
        rows = [rng.choice(np.flatnonzero(number == one), seeds, replace=False) for one in drawn]
        names = collapsed["run"].iloc[np.sort(np.concatenate(rows))]
        some = runs[runs["run"].isin(names)].reset_index(drop=True)
        asked = Asked(runs=some, epochs=epochs[epochs["run"].isin(names)], terms=Terms())
        found = calibration_table(asked)
        tables.append(found[found["held_out"] == "condition"])
    for level in LEVELS:
        rows = [table[table["level"] == level] for table in tables]
        inside = [(table["lo"] <= table["actual"]) & (table["actual"] <= table["hi"]) for table in rows]
        shares = [
            one.groupby(table["run"].map(number_of)).mean().mean() for one, table in zip(inside, rows, strict=True)
        ]
        width = np.median([(table["hi"] - table["lo"]).median() for table in rows])
        covers = f"a nominal {level:.0%} covers {np.mean(shares):.3f}, {width:.0f} epochs wide"
        print(f"\n{conditions} conditions of the digits study, {seeds} seeds: {covers}")
        assert np.mean(shares) > level - 0.05 - 2 * np.std(shares) / np.sqrt(len(shares))


@pytest.mark.parametrize("runs", [8, 12, 20, 40])
@pytest.mark.parametrize(
    ("share", "short", "budget"),
    [
        *((share, 0.0, math.inf) for share in (0.05, 0.15, 0.4)),
        *((share, 0.3, budget) for share in (0.0, 0.1) for budget in (80.0, 148.0)),  # before any onset; at the median
        (0.0, 0.8, 148.0),
    ],
)
def test_intervals_hold_where_runs_end_without_a_collapse(runs, share, short, budget):
    """A share of all runs never collapses, the one that is forecast too; all that can be used is the median.

    Of the others the share `short` ends at the epoch `budget`; onsets are 148 epochs, and 20 % more or less.
    """
    rng, trials = np.random.default_rng([runs, round(100 * share), round(100 * short)]), 400
    inside, below, covered, opened = [], [], [], []
    for _ in range(trials):
        onset = np.where(rng.random(runs + 1) < share, math.inf, np.exp(5 + 0.2 * rng.normal(size=runs + 1)))
        end = np.where(rng.random(runs) < short, budget, 1e4)
        collapsed = [
            CalibrationRun(course=EMPTY, condition=0, onset=float(each), feature_norm=math.nan)
            for each in onset[1:][onset[1:] <= end]
        ]
        never = [CensoredRun(end=float(each), condition=0) for each in end[onset[1:] > end]]
        asked = {"now": 10.0, "metric": "nc1", "eps": 0.01, "level": 0.8}
        found = forecast_onset("mine", EMPTY, 0, collapsed, never, **asked)
        if found.status == "forecast":
            inside.append(found.lo <= onset[0] <= found.hi)
            below.append(onset[0] < found.lo)
            covered.append(found.p_no_collapse_lo <= share <= found.p_no_collapse_hi)
            opened.append(found.hi == math.inf)
    print(
        f"\n{runs} runs, {share:.0%} never, {short:.0%} end at {budget:g}: "
        f"a nominal 80 % covers {np.mean(inside):.3f}, below {np.mean(below):.3f}, open {np.mean(opened):.2f}; "
        f"that of the share {np.mean(covered):.3f}"
    )
    assert np.mean(inside) > 0.75
    assert np.mean(below) < 0.13
    if short < 0.5:  # else often none is followed to its onset, and the share is that by `budget`
        assert np.mean(covered) > 0.75
