import pandas as pd
import pytest

from ncdiag.analysis.conditions import (
    check_grouping,
    condition_labels,
    condition_numbers,
    group_numbers,
    perhaps_alike,
    plain_value,
)
from ncdiag.analysis.terms import Terms
from ncdiag.errors import AnalysisError


def test_seeds_of_one_setting_are_one_condition(make_frames):
    runs, _ = make_frames({"a": {"depth": 5}, "b": {"depth": 7}, "c": {"depth": 5}, "d": {"depth": 5, "lr": 0.1}})
    assert condition_numbers(runs).tolist() == [0, 1, 0, 2]


def test_what_no_run_says_is_the_same_for_all(make_frames):
    runs, _ = make_frames({"a": {"width": None, "depth": None}, "b": {"width": None, "depth": None}, "c": {}})
    assert condition_numbers(runs).tolist() == [0, 0, 1]


def test_groups_are_numbered_as_they_appear(make_frames):
    runs, _ = make_frames({"a": {"dataset": "mnist"}, "b": {"dataset": "cifar10"}, "c": {"dataset": "mnist"}})
    assert group_numbers(runs, ["arch", "dataset"]).tolist() == [0, 1, 0]
    assert group_numbers(runs.iloc[:0], ["arch"]).tolist() == []


def test_a_label_names_what_varies(make_frames):
    runs, _ = make_frames({"a": {"depth": 5, "weight_decay": 1e-5}, "b": {"depth": 7, "weight_decay": None}})
    assert condition_labels(runs) == ["depth=5, weight_decay=1e-05", "depth=7, weight_decay=?"]
    assert condition_labels(runs.iloc[:1]) == ["all alike"]


def test_a_training_set_that_was_not_cut_down_is_all_of_it(make_frames):
    runs, _ = make_frames({"a": {"train_size": None}, "b": {"train_size": 2000}})
    assert condition_labels(runs) == ["train_size=all", "train_size=2000"]


def test_a_run_that_names_no_rescaling_had_none(make_frames):
    runs, _ = make_frames({"a": {"depth": 5}, "b": {"depth": 5, "intervention": "3@20"}})
    assert condition_labels(runs) == ["intervention=none", "intervention=3@20"]


def test_a_setting_without_a_column_is_named_as_it_was_said(make_frames):
    runs, _ = make_frames({"a": {"lr": 0.1}, "b": {"lr": 0.1, "other": "label_smoothing=0.1"}, "c": {"lr": 0.1}})
    assert condition_labels(runs) == ["other=none", "label_smoothing=0.1", "other=none"]
    assert condition_numbers(runs).tolist() == [0, 1, 0]


def test_conditions_that_may_be_one_are_counted(make_frames):
    known = {f"{decay}": {"weight_decay": decay, "batch_size": 32} for decay in (1e-4, 2e-4)}
    silent = {"weight_decay": 1e-4, "lr": None}
    runs, _ = make_frames({**known, "log": silent, "again": silent})
    assert perhaps_alike(runs) == (1, ["lr", "batch_size"])  # by two runs of one condition
    runs, _ = make_frames({**known, "log": {"weight_decay": 3e-4, "lr": None}})
    assert perhaps_alike(runs) == (0, [])  # differs in what all say
    runs, _ = make_frames({"a": {"lr": None}, "b": {"lr": None, "weight_decay": 1e-3}})
    assert perhaps_alike(runs) == (0, [])  # all say as much
    runs, _ = make_frames({"a": {"train_size": None}, "b": {"train_size": 200}, "c": {"other": "mixup=1"}})
    assert perhaps_alike(runs) == (0, [])  # all of the set, and nothing else, are known
    runs, _ = make_frames({"a": {"lr": None, "batch_size": 32}, "b": {"lr": 0.1, "batch_size": None}})
    assert perhaps_alike(runs) == (2, ["lr", "batch_size"])  # each says what the other does not


def test_a_column_that_does_not_exist_names_its_neighbour():
    with pytest.raises(AnalysisError, match="did you mean dataset"):
        check_grouping(["datset"])
    with pytest.raises(AnalysisError, match="names no column"):
        Terms(by=())
    assert Terms(by=("seed", "arch", "seed")).by == ("seed", "arch")
    check_grouping(["arch", "dataset", "seed"])


@pytest.mark.parametrize(("cell", "plain"), [(5.0, 5), (0.5, 0.5), ("a", "a"), (None, None), (pd.NA, None)])
def test_cells_become_plain_values(cell, plain):
    assert plain_value(cell) == plain
