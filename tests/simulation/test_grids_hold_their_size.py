"""How often a grid whose parts add (or multiply) is said to do otherwise.

Norms are lognormal about the cells, which add on the raw scale or on logs: with 8 % in all of them, or in some with
8 % and in others with 1 %, as the published cells have it. STATISTICS Q8 quotes the sizes.
"""

import math

import numpy as np
import pandas as pd
import pytest
from shares import at_most, told

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.analysis.onsets import onset_table
from ncdiag.analysis.terms import Terms
from ncdiag.domain.additivity import deciding_p, list_crossings, tukey_one_df
from ncdiag.domain.free_shape import free_shape
from ncdiag.domain.interaction import estimate_interaction
from ncdiag.domain.onset_rule import OnsetRule

pytestmark = pytest.mark.slow

TRIALS, WHOLE = 1000, 100
SDS = {"alike": (0.08, 0.08), "unlike": (0.08, 0.01)}
SEEDS = (3, 5, 10)
SHAPES = ((2, 2), (3, 3))
KNOWN = {"phases": "mse:8", "status": "done", "origin": "trained", "epochs_done": 8, "epochs_planned": 8}
UNKNOWN = (*CONDITION_COLUMNS, "device", "data_sha256")


def logs_of(truth, shape):
    """Give ln fn* of the cells [a, b], within a factor of 6."""
    rows, columns = (np.arange(count, dtype=float) for count in shape)
    if truth == "adds":
        return np.log(1 + rows[:, None] + 0.5 * columns)
    return 0.7 * rows[:, None] + 0.3 * columns


def runs_of(shape, seeds):
    row, column = (places.ravel() for places in np.indices(shape))
    return np.repeat(row, seeds), np.repeat(column, seeds)


def samples(truth, shape, seeds, trials, cells="alike"):
    """Give the norms of the runs, many times over: [trials, runs]."""
    rng = np.random.default_rng([len(truth), *shape, seeds, len(cells)])
    logs = np.repeat(logs_of(truth, shape).ravel(), seeds)
    sds = np.repeat(np.resize(SDS[cells], shape[0] * shape[1]), seeds)
    return np.exp(logs + rng.normal(0, sds, (trials, len(logs))))


@pytest.mark.parametrize("cells", SDS)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("truth", ["adds", "multiplies"])
def test_parts_that_add_or_multiply_are_seldom_said_not_to(truth, shape, seeds, cells):
    """The p that lets cells differ in variance decides. F holds .043 to .051 on logs where cells vary alike only."""
    row, column = runs_of(shape, seeds)
    norms = samples(truth, shape, seeds, TRIALS, cells)
    found = [estimate_interaction(own if truth == "adds" else np.log(own), row, column) for own in norms]
    ps = {"F": [one.p for one in found], "decides": [deciding_p(one) for one in found]}
    shares = told(f"{truth}, {shape}, n = {seeds}, cells {cells}", ps)
    assert shares["decides"] <= at_most(0.05 if cells == "alike" or shape == (2, 2) else 0.07, TRIALS)
    if truth == "multiplies" and cells == "alike":
        assert shares["F"] == pytest.approx(0.05, abs=at_most(0.05, TRIALS) - 0.05)
    if cells == "unlike" and seeds == 3:
        assert shares["F"] > 0.06  # what the other p is for


def onsets_of(shape, seeds):
    """Give the table of onsets of a grid of runs; its `fn_star` is to be replaced."""
    row, column = runs_of(shape, seeds)
    names = [f"run-{number}" for number in range(len(row))]
    cells = [{"run": name, "seed": i % seeds} for i, name in enumerate(names)]
    runs = pd.DataFrame([{**dict.fromkeys(UNKNOWN), **KNOWN, **cell} for cell in cells])
    runs = runs.assign(arch=[f"net{r}" for r in row], dataset=[f"set{c}" for c in column], config=[{}] * len(runs))
    nc1 = [0.5, 0.1, *[0.001] * 6]
    epochs = pd.DataFrame({"run": np.repeat(names, 8), "epoch": np.tile(np.arange(1, 9), len(names))}).assign(
        nc1=nc1 * len(names), feature_norm=1.0, phase=1, loss="mse", lr=np.nan, train_accuracy=1.0, nonfinite=None
    )
    return onset_table(runs, epochs, OnsetRule())


@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("truth", ["adds", "multiplies"])
def test_the_verdict_on_a_grid_seldom_goes_too_far(truth, shape, seeds):
    """Additive cells are seldom said not to add, multiplying ones seldom neither to add nor to multiply."""
    table = onsets_of(shape, seeds)
    found = [additivity_results(table.assign(fn_star=norms), Terms()) for norms in samples(truth, shape, seeds, WHOLE)]
    named = [{one.quantity: one for one in results} for results in found]
    verdicts = [one["verdict"].extra["verdict"] for one in named]
    allowed = ("additive",) if truth == "adds" else ("additive", "multiplicative")
    scale = "interaction_raw" if truth == "adds" else "interaction_log"
    shares = told(
        f"verdict, {truth} {shape}, n = {seeds}",
        {
            "too far": [1.0 if verdict in allowed else 0.0 for verdict in verdicts],
            "permutation": [one[scale].extra["p_permutation"] for one in named],
        },
    )
    assert shares["too far"] <= at_most(0.05, WHOLE)
    assert shares["permutation"] <= at_most(0.08 if truth == "adds" else 0.05, WHOLE)  # large norms vary more


@pytest.mark.parametrize("seeds", SEEDS)
def test_an_order_that_is_kept_is_seldom_said_to_cross(seeds):
    """The worst case: in one column the rows are far apart, in the other they are level."""
    row, column = runs_of((2, 2), seeds)
    logs = np.repeat([0.0, 0.0, 1.0, 0.0], seeds)
    rng = np.random.default_rng(seeds)
    found = [
        0.0 if any(kind == "rows" for *_, kind in list_crossings(logs + noise, row, column, 0.05)) else 1.0
        for noise in rng.normal(0, 0.08, (TRIALS, len(logs)))
    ]
    shares = told(f"crossing, n = {seeds}", {"crossover": found})
    assert shares["crossover"] <= at_most(0.05, TRIALS)


@pytest.mark.parametrize("shape", [(2, 3), (3, 3), (4, 5)])
def test_single_values_that_multiply_are_seldom_said_not_to_by_tukeys_test(shape):
    found = [tukey_one_df(np.log(norms).reshape(shape)).p for norms in samples("multiplies", shape, 1, TRIALS)]
    shares = told(f"single values {shape}", {"Tukey": found})
    assert shares["Tukey"] == pytest.approx(0.05, abs=at_most(0.05, TRIALS) - 0.05)


@pytest.mark.parametrize(("shape", "trials"), [((3, 3), 150), ((4, 5), 60)])
def test_single_values_that_multiply_seldom_show_a_shape(shape, trials):
    tables = np.log(samples("multiplies", shape, 1, trials)).reshape(trials, *shape)
    found = [free_shape(table, np.random.default_rng(number)) for number, table in enumerate(tables)]
    shares = told(
        f"single values {shape}",
        {"Boik": [one.p_boik for one in found], "Johnson and Graybill": [one.p_largest for one in found]},
    )
    assert all(share <= at_most(0.05, trials) for share in shares.values())


def test_parts_that_do_neither_are_told():
    """The proof that these trials can fail: at a ratio of ratios of 1.5 the tests reject."""
    row, column = runs_of((2, 2), 5)
    logs = np.repeat([0.0, 0.3, 0.7, 1.0 + math.log(1.5)], 5)
    rng = np.random.default_rng(0)
    found = [estimate_interaction(logs + noise, row, column).p for noise in rng.normal(0, 0.08, (200, 20))]
    assert told("ratio of ratios 1.5, n = 5", {"F": found})["F"] > 0.9
