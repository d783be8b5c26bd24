import pytest

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.sweep import MAX_POINTS, expand, list_points
from ncdiag.errors import SpecError


def test_last_axis_varies_fastest() -> None:
    points = list(list_points({"a": [1, 2], "b": ["x", "y"]}))
    assert points == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]


def test_equal_points_are_one_run() -> None:
    # the momentum that is the default of sgd, said and unsaid, is one experiment
    specs = expand({"optimizer": ["sgd"], "momentum": [None, 0.9, 0.8], "seed": [0, 1]}, complete_spec)
    assert [(s.optimizer.momentum, s.seed) for s in specs] == [(0.9, 0), (0.9, 1), (0.8, 0), (0.8, 1)]


def test_empty_axis_is_named() -> None:
    with pytest.raises(SpecError, match="--weight-decay has no value"):
        list_points({"weight_decay": []})


def test_absurd_grid_is_refused_before_it_is_listed() -> None:
    with pytest.raises(SpecError, match=f"the grid has {MAX_POINTS + 1:,} points"):
        list_points({"seed": range(MAX_POINTS + 1)})
