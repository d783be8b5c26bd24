import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.crossing import Curves
from ncdiag.domain.descent import see_descent
from ncdiag.domain.outlook import head_for, reach_levels, see_trends


def noisy_runs(seed):
    """Runs of unequal lengths, some empty, some with phases, on epochs of their own."""
    rng = np.random.default_rng(seed)
    runs = []
    for _ in range(4):
        n = int(rng.integers(0, 30))
        epoch = np.cumsum(rng.integers(1, 4, n)).astype(float)
        log = rng.choice([-0.1, -0.02, 0.01, 0.0]) * epoch + rng.normal(0, 0.2, n)
        runs.append((epoch, log, np.sort(rng.integers(1, 4, n)).astype(float)))
    return runs


@given(st.integers(0, 10_000))
def test_runs_together_are_what_each_says_alone(seed):
    runs = noisy_runs(seed)
    width = max(1, *(len(epoch) for epoch, _, _ in runs))
    epoch, log = np.full((4, width), np.nan), np.full((4, width), np.inf)
    switched = np.zeros((4, width), dtype=bool)
    for i, (t, y, phase) in enumerate(runs):
        epoch[i, : len(t)], log[i, : len(t)] = t, y
        switched[i, 1 : len(t)] = np.diff(phase) != 0
    curves = Curves(epoch=epoch, log=log, switched=switched)
    levels = np.array([-3.0, -1.0, -0.1, 0.3])
    times = (5.0, 20.0, 40.0)
    outlooks = [see_trends(curves, np.count_nonzero(epoch <= now, axis=1)) for now in times]
    for now, found in zip(times, reach_levels(curves, outlooks, levels, between=True), strict=True):
        for i, (t, y, phase) in enumerate(runs):
            seen = t <= now
            alone = see_descent(t[seen], np.exp(y[seen]), phase[seen])
            expected = [alone.reach(level) for level in levels]
            assert found[i] == pytest.approx(expected, rel=1e-6, nan_ok=True)
    for now, seen_then in zip(times, outlooks, strict=True):
        ahead = [head_for(curves, seen_then, level) for level in levels]
        for i, (t, y, phase) in enumerate(runs):
            alone = see_descent(t[t <= now], np.exp(y[t <= now]), phase[t <= now])
            expected = [alone.head_for(level) for level in levels]
            assert [each[i] for each in ahead] == pytest.approx(expected, rel=1e-6, nan_ok=True)


def test_a_straight_line_goes_on():
    t = np.arange(0.0, 50)
    curves = Curves(epoch=t[None], log=-0.1 * t[None], switched=np.zeros((1, 50), dtype=bool))
    (early,) = reach_levels(curves, [see_trends(curves, np.array([20]))], np.array([-1.0, -4.0, -8.0]), between=True)
    assert early[0] == pytest.approx([10, 40, 80])


def test_a_dip_that_is_over_is_not_where_a_curve_heads():
    t = np.arange(0.0, 50)
    log = np.where(t == 5, -9.0, -0.1 * t)
    curves = Curves(epoch=t[None], log=log[None], switched=np.zeros((1, 50), dtype=bool))
    assert head_for(curves, see_trends(curves, np.array([20])), -4.0) == pytest.approx([40])
    assert head_for(curves, see_trends(curves, np.array([45])), -4.0) == pytest.approx([44])  # it is there now


def test_upside_down_the_trend_turns():
    t = np.arange(0.0, 50)
    rising = Curves(epoch=t[None], log=0.1 * t[None], switched=np.zeros((1, 50), dtype=bool))
    seen = see_trends(rising, np.array([20]))
    assert np.isnan(reach_levels(rising, [seen], np.array([-1.0]), between=True)[0]).all()
    assert reach_levels(rising.turned, [seen.turned], np.array([-4.0]), between=True)[0][0, 0] == pytest.approx(40)
