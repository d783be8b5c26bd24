import math

import numpy as np
import pytest

from ncdiag.domain.crossing import Curve, count_crossings, find_crossings


def curve(values, epochs=None, switched=()):
    values = np.asarray(values, dtype=float)
    epochs = np.arange(len(values), dtype=float) if epochs is None else np.asarray(epochs, dtype=float)
    marks = np.zeros(len(values), dtype=bool)
    marks[list(switched)] = True
    return Curve(epoch=epochs, log=np.log(values), switched=marks)


def test_a_relaxing_norm_crosses_at_its_closed_form():
    """fn = 1 + 3 exp(-t / 50) crosses 2 at 50 ln 3 = 54.930614; with an onset at 100 the lead is 45.069386."""
    t = np.linspace(0, 200, 20_001)
    found = find_crossings(curve(1 + 3 * np.exp(-t / 50), t), np.log([2.0]))
    assert found.epoch[0] == pytest.approx(54.930614, abs=1e-4)
    assert 100 - found.epoch[0] == pytest.approx(45.069386, abs=1e-4)


def test_the_published_reading_is_the_evaluation_itself():
    found = find_crossings(curve([4, 2.1, 1.9, 1], [10, 20, 30, 40]), np.log([2.0]), between=False)
    assert found.epoch.tolist() == [30]


def test_a_naive_search_finds_the_same():
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=60))
    levels = np.quantile(np.log(values), [0.01, 0.2, 0.5, 0.99])
    found = find_crossings(curve(values), levels, patience=3)
    for place, level in enumerate(levels):
        below = np.log(values) <= level
        first = int(np.argmax(below))
        share = 1.0
        if first:
            share = (np.log(values[first - 1]) - level) / (np.log(values[first - 1]) - np.log(values[first]))
        assert found.epoch[place] == pytest.approx(max(first - 1 + share, 0))
        runs = [i + 2 for i in range(58) if below[i : i + 3].all()]
        assert found.confirmed_at[place] == runs[0] if runs else math.isnan(found.confirmed_at[place])
        starts = sum(b and (i == 0 or not below[i - 1]) for i, b in enumerate(below))
        assert count_crossings(curve(values), level) == starts


def test_never_and_from_the_start():
    found = find_crossings(curve([3, 2, 2]), np.log([1.0, 5.0]), patience=4)
    assert math.isnan(found.epoch[0])
    assert (found.epoch[1], found.from_start.tolist()) == (0, [False, True])
    assert np.isnan(found.confirmed_at).all()
    nothing = find_crossings(curve([]), np.log([1.0]))
    assert math.isnan(nothing.epoch[0])
    assert count_crossings(curve([]), 0.0) == 0


def test_across_a_switch_of_the_loss_there_is_no_line():
    assert find_crossings(curve([8, 1], switched=[1]), np.log([2.0])).epoch.tolist() == [1]
    assert curve([8, 1], switched=[1]).at(0.5) == 0


def test_the_value_at_an_epoch():
    found = curve([4, 1], [10, 20])
    assert [found.at(t) for t in (10, 15, 20)] == pytest.approx([math.log(4), math.log(2), 0])
    assert math.isnan(found.at(5))
    assert math.isnan(found.at(21))


def test_a_factor_on_the_features_moves_no_crossing():
    values = 1 + 3 * np.exp(-np.arange(100) / 20)
    plain, scaled = (find_crossings(curve(k * values), np.log([k * 1.5])).epoch[0] for k in (1, 7))
    assert scaled == pytest.approx(plain)
