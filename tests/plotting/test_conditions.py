import itertools

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.analysis.conditions import CONDITION_COLUMNS, condition_numbers
from ncdiag.domain.naming import FIGURE
from ncdiag.plotting.conditions import describe_shared, label_conditions


def frame(*runs: dict[str, object]) -> pd.DataFrame:
    columns = {column: [run.get(column) for run in runs] for column in CONDITION_COLUMNS}
    return pd.DataFrame({"run": [f"run-{place}" for place in range(len(runs))], **columns})


def test_a_label_says_what_differs_and_nothing_else():
    runs = frame(
        {"arch": "mlp", "depth": 5, "weight_decay": 1e-4, "optimizer": "adam"},
        {"arch": "mlp", "depth": 7, "weight_decay": 1e-5, "optimizer": "adam"},
        {"arch": "mlp", "depth": 5, "weight_decay": 1e-5, "optimizer": "adam"},
    )
    assert label_conditions(runs).tolist() == ["depth 5, wd 1e-4", "depth 7, wd 1e-5", "depth 5, wd 1e-5"]


def test_what_an_earlier_column_tells_apart_is_not_said_again():
    runs = frame({"arch": "mlp", "lr": 1e-3, "optimizer": "adam"}, {"arch": "resnet20", "lr": 0.1, "optimizer": "sgd"})
    assert label_conditions(runs).tolist() == ["mlp", "resnet20"]


def test_runs_of_one_condition_need_no_label():
    assert label_conditions(frame({"arch": "mlp", "depth": 5}, {"arch": "mlp", "depth": 5})).tolist() == ["", ""]


def test_what_is_not_known_is_said_as_such():
    assert label_conditions(frame({"phases": "ce:200"}, {})).tolist() == ["ce:200", "phases ?"]


def test_every_column_that_makes_a_condition_can_be_named():
    assert set(FIGURE.forms) == set(CONDITION_COLUMNS)


configurations = st.fixed_dictionaries(
    {
        "arch": st.sampled_from(["mlp", "cnn", None]),
        "dataset": st.sampled_from(["mnist", None]),
        "depth": st.sampled_from([5, 7, None]),
        "weight_decay": st.sampled_from([1e-4, 1e-5]),
        "phases": st.sampled_from(["ce:200", "ce:200,mse:400", None]),
    }
)


@given(st.lists(configurations, min_size=1, max_size=8))
def test_labels_are_equal_exactly_where_conditions_are(found: list[dict[str, object]]):
    runs = frame(*found)
    numbers, labels = condition_numbers(runs), label_conditions(runs).tolist()
    for a, b in itertools.combinations(range(len(found)), 2):
        assert (labels[a] == labels[b]) == (numbers[a] == numbers[b])


def test_what_all_runs_share_is_described():
    runs = frame({"arch": "mlp", "dataset": "mnist", "depth": 5}, {"arch": "mlp", "dataset": "mnist", "depth": 7})
    assert describe_shared(runs) == "mlp, mnist"


def test_a_whole_training_set_is_called_so():
    assert label_conditions(frame({"train_size": 500}, {})).tolist() == ["500 samples", "all samples"]


def test_conditions_that_are_nearly_the_same_are_told_apart():
    assert label_conditions(frame({"lr": 0.001000001}, {"lr": 0.001000002})).nunique() == 2


def test_runs_are_named_a_condition_at_a_time():
    names = label_conditions(frame(*({"depth": place % 3} for place in range(5))))
    assert names.tolist() == ["depth 0", "depth 1", "depth 2", "depth 0", "depth 1"]
    assert label_conditions(frame()).tolist() == []
    assert describe_shared(frame()) == ""
