import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.crossing import Curve, Curves, count_crossings, find_confirmed, find_crossings, first_rows


def matrix(*runs, epochs=None, switched=()):
    """Runs of values, each with its own length, as curves; `switched` are (run, row)."""
    width = max(1, *map(len, runs))
    epoch, log = np.full((len(runs), width), np.nan), np.full((len(runs), width), np.inf)
    for run, values in enumerate(runs):
        epoch[run, : len(values)] = np.arange(len(values)) if epochs is None else epochs[run]
        log[run, : len(values)] = np.log(np.asarray(values, dtype=float))
    marks = np.zeros((len(runs), width), dtype=bool)
    for place in switched:
        marks[place] = True
    return Curves(epoch=epoch, log=log, switched=marks)


def naive_crossing(epoch, log, switched, level, between):
    """The first crossing of one curve, evaluation by evaluation."""
    for row in range(len(log)):
        if log[row] <= level:
            if row == 0 or switched[row] or not between:
                return epoch[row]
            share = (log[row - 1] - level) / (log[row - 1] - log[row])
            return epoch[row - 1] + share * (epoch[row] - epoch[row - 1])
    return math.nan


def naive_confirmed(epoch, log, level, patience):
    for row in range(len(log) - patience + 1):
        if all(log[row + i] <= level for i in range(patience)):
            return epoch[row + patience - 1]
    return math.nan


def naive_count(log, level):
    return sum(log[row] <= level and (row == 0 or log[row - 1] > level) for row in range(len(log)))


# Whole numbers of few kinds: ties between evaluations, and between evaluations and levels.
CURVE = st.lists(st.tuples(st.integers(1, 5), st.integers(-4, 4), st.booleans()), max_size=12)


@given(
    st.lists(CURVE, min_size=1, max_size=5),
    st.lists(st.integers(-10, 10), min_size=1, max_size=8),
    st.booleans(),
    st.integers(1, 4),
)
def test_many_runs_and_levels_are_what_a_loop_over_evaluations_finds(runs, halves, between, patience):
    curves = matrix(*[[math.exp(value) for _, value, _ in run] for run in runs])
    for number, run in enumerate(runs):
        curves.epoch[number, : len(run)] = np.cumsum([step for step, _, _ in run])
        curves.log[number, : len(run)] = [value for _, value, _ in run]
        curves.switched[number, 1 : len(run)] = [switch for _, _, switch in run[1:]]
    levels = np.array(halves) / 2
    found = find_crossings(curves, levels, between=between)
    for number, run in enumerate(runs):
        epoch, log = np.cumsum([step for step, _, _ in run]).tolist(), [float(value) for _, value, _ in run]
        switched = [False, *[switch for _, _, switch in run[1:]]]
        for place, level in enumerate(levels):
            expected = naive_crossing(epoch, log, switched, level, between)
            assert found[number, place] == pytest.approx(expected, rel=1e-12, nan_ok=True)
            own = np.full(len(runs), level)
            expected = naive_confirmed(epoch, log, level, patience)
            assert find_confirmed(curves, own, patience)[number] == pytest.approx(expected, nan_ok=True)
            assert count_crossings(curves, own)[number] == naive_count(log, level)


def test_a_relaxing_norm_crosses_at_its_closed_form():
    """fn = 1 + 3 exp(-t / 50) crosses 2 at 50 ln 3 = 54.930614; with an onset at 100 the lead is 45.069386."""
    t = np.linspace(0, 200, 20_001)
    found = find_crossings(matrix(1 + 3 * np.exp(-t / 50), epochs=[t]), np.log([2.0]), between=True)[0, 0]
    assert found == pytest.approx(54.930614, abs=1e-4)
    assert 100 - found == pytest.approx(45.069386, abs=1e-4)


def test_the_published_reading_is_the_evaluation_itself():
    curves = matrix([4, 2.1, 1.9, 1], [9, 8, 7, 6, 5], epochs=[[10, 20, 30, 40], [1, 2, 3, 4, 5]])
    assert find_crossings(curves, np.log([2.0]), between=False)[0, 0] == 30
    assert first_rows(curves, np.log([2.0])).tolist() == [[2], [5]]
    assert math.isnan(find_crossings(curves, np.log([2.0]), between=True)[1, 0])


def test_across_a_switch_of_the_loss_there_is_no_line():
    assert find_crossings(matrix([8, 1], switched=[(0, 1)]), np.log([2.0]), between=True).tolist() == [[1]]
    assert Curve(epoch=np.arange(2.0), log=np.log([8, 1]), switched=np.array([False, True])).at(0.5) == 0


def test_a_rising_curve_is_found_upside_down():
    curves = matrix([1, 2, 4], [1, 8])
    assert find_crossings(curves.turned, -np.log([3.0]), between=False).tolist() == [[2], [1]]
    assert np.isinf(curves.turned.log[1, 2])


def test_the_value_at_an_epoch():
    alone = Curve(epoch=np.array([10.0, 20.0]), log=np.log([4, 1]), switched=np.zeros(2, dtype=bool))
    assert [alone.at(t) for t in (10, 15, 20)] == pytest.approx([math.log(4), math.log(2), 0])
    assert math.isnan(alone.at(5))
    assert math.isnan(alone.at(21))


@given(st.integers(0, 1000))
def test_values_at_epochs_are_those_of_each_curve_alone(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 6, 4)
    epochs = [np.sort(rng.choice(12, n, replace=False)) for n in lengths]
    curves = matrix(*[np.exp(rng.normal(size=n)) for n in lengths], epochs=epochs)
    curves.switched[:, 1:] = rng.random((4, curves.switched.shape[1] - 1)) < 0.3
    at = rng.integers(-1, 26, 4) / 2
    at[0] = np.nan if seed % 5 == 0 else at[0]
    expected = [
        Curve(epoch=curves.epoch[i, :n], log=curves.log[i, :n], switched=curves.switched[i, :n]).at(at[i])
        if not math.isnan(at[i])
        else math.nan
        for i, n in enumerate(lengths)
    ]
    assert curves.at(at) == pytest.approx(expected, nan_ok=True)


def test_a_factor_on_the_features_moves_no_crossing():
    values = 1 + 3 * np.exp(-np.arange(100) / 20)
    plain, scaled = (find_crossings(matrix(k * values), np.log([k * 1.5]), between=True)[0, 0] for k in (1, 7))
    assert scaled == pytest.approx(plain)
