"""What a figure of onsets bounds where some runs have none."""

import math

import numpy as np
import pytest
from analysis.factor_sweeps import answers, sweep
from scipy import stats

from ncdiag.analysis.factor_claims import decides, wider_is_faster


@pytest.mark.parametrize(
    ("rates", "shape", "bound"),
    [
        ({2: (22.0, 22.5, 90.0), 5: (20.0, 20.5, 21.0), 8: (33.0, 34.0, 35.0)}, "valley", "at least"),
        ({2: (32.0, 33.0, 90.0), 5: (20.0, 20.5, 21.0), 8: (30.0, 31.0, 33.0)}, "valley", None),
        ({2: (33.0, 34.0, 35.0), 5: (20.0, 20.5, 21.0), 8: (22.0, 22.5, 90.0)}, "valley", "at least"),
        ({2: (20.0, 20.5, 21.0), 5: (34.0, 35.0, 90.0), 8: (30.0, 31.0, 33.0)}, "peak", "at least"),
        ({2: (20.0, 20.5, 90.0), 5: (35.0, 35.5, 36.0), 8: (20.0, 20.5, 21.0)}, "peak", "at most"),
        ({2: (20.0, 20.5, 90.0), 5: (35.0, 35.5, 90.0), 8: (20.0, 20.5, 21.0)}, "peak", "within the budget"),
    ],
)
def test_of_a_turn_the_smaller_change_says_what_is_bounded(make_frames, make_run, rates, shape, bound):
    """A run that never collapses (90) has its value collapse later than it seems, on whichever side of the ratio."""
    found = answers(make_frames(sweep(make_run, "depth", rates)))["depth", "non_monotone"]
    assert (found.extra["shape"], found.extra["turn"], found.extra["bound"]) == (shape, 5, bound)


def test_a_ratio_with_runs_that_never_collapsed_is_a_bound_of_the_true_one(make_frames, make_run):
    # The true onsets are the rates times ln 100, also of the runs that end at epoch 200 without one.
    rates = {"relu": (20.0, 20.5, 21.0), "tanh": (30.0, 31.0, 90.0), "gelu": (80.0, 85.0, 90.0)}
    found = answers(make_frames(sweep(make_run, "activation", rates)))
    speed = found["activation", "speed"]
    logs = {value: np.log(seeds).mean() for value, seeds in rates.items()}
    said = {}
    for pair in speed.extra["pairs"]:
        over, under = pair["of"]
        truth = math.exp(logs[over] - logs[under])
        said[over, under] = pair["bound"]
        assert {"at least": truth > pair["lo"], "at most": truth < pair["hi"]}.get(pair["bound"], True)
        assert {"at least": truth > pair["ratio"], "at most": truth < pair["ratio"]}.get(pair["bound"], True)
    assert said == {("relu", "gelu"): "at most", ("tanh", "gelu"): "within the budget", ("tanh", "relu"): "at least"}
    assert speed.extra["bound"] == "at least"
    (claimed,) = decides({"activation": [found["activation", name] for name in ("speed", "fn_star", "joint")]}, 0.05)
    assert claimed.ours.startswith(f"T >=x{speed.estimate:.2g}, fn* x")
    assert found["activation", "fn_star"].extra["pairs"][0]["bound"] is None


def test_a_fall_with_the_width_is_understated_where_narrow_networks_never_collapsed(make_frames, make_run):
    rates = {64: (80.0, 90.0), 128: (30.0, 31.0), 256: (26.0, 27.0), 512: (22.0, 23.0)}
    trend = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
    truth = stats.linregress(np.repeat([0, 1, 2, 3], 2), np.log([*rates.values()]).ravel()).slope
    assert trend.extra["bound"] == "at least"
    assert trend.estimate < -math.expm1(truth)
    (claimed,) = wider_is_faster({"width": [trend]}, 0.05)
    assert claimed.ours == f"<=-{100 * trend.estimate:.2g}% T"
    closed = answers(make_frames(sweep(make_run, "width", {w: r for w, r in rates.items() if w > 64})))
    assert closed["width", "trend"].extra["bound"] is None


@pytest.mark.parametrize(
    ("rates", "says", "side"),
    [
        ({64: (60.0, 61.0), 128: (31.0, 30.5), 256: (26.0, 27.0)}, "at least", 1),
        ({64: (26.0, 27.0), 128: (31.0, 30.5), 256: (60.0, 61.0)}, "at most", -1),
        ({64: (60.0, 61.0), 128: (31.0, 30.5), 256: (60.0, 61.0)}, "within the budget", 0),
        ({64: (36.0, 35.0), 128: (31.0, 30.5), 256: (26.0, 27.0)}, None, 0),
    ],
)
def test_the_slope_is_a_bound_where_onsets_are_hidden_at_one_end(make_frames, make_run, rates, says, side):
    """Runs of 200 epochs hide the onsets at 60 ln 100 = 276; the line through the true onsets says which way."""
    found = answers(make_frames(sweep(make_run, "width", rates)))["width", "trend"]
    assert found.extra["bound"] == says
    x = np.repeat(np.log2(list(rates)), 2)
    truth = 1 - math.exp(stats.linregress(x, np.log(np.concatenate(list(rates.values())))).slope)
    if side:
        assert side * (truth - found.estimate) > 0.01


@pytest.mark.parametrize("narrow", [(90.0, 90.0), (31.0, 90.0)])
def test_a_width_without_two_onsets_leaves_the_shift_of_fn_star_without_a_bound(make_frames, make_run, narrow):
    rates = {64: narrow, 128: (31.0, 30.5), 256: (26.0, 27.0)}
    norms = dict.fromkeys(rates, (1.0, 1.001))
    shift = answers(make_frames(sweep(make_run, "width", rates, norms)))["width", "fn_shift"]
    assert (shift.status, shift.extra["verdict"]) == ("not_testable", "not testable")
    assert math.isnan(shift.hi)
    assert f"onsets by width: 64: {sum(rate < 40 for rate in narrow)}, 128: 2, 256: 2" in shift.warnings[0]
