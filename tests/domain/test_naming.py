import pytest

from ncdiag.domain.naming import (
    FIGURE,
    PAIR,
    TEXT,
    Naming,
    compact,
    differing,
    group_key,
    name_groups,
    telling,
    write_values,
)

BOTH = [{"arch": "mlp", "depth": 5, "lr": 0.1}, {"arch": "mlp", "depth": 7, "lr": 0.2}]


def test_a_group_is_told_by_its_values_in_whatever_order_they_stand():
    assert group_key({"lr": 0.1, "arch": "mlp"}) == group_key({"arch": "mlp", "lr": 0.1})
    assert group_key({"lr": 0.00100001}) != group_key({"lr": 0.00100002})
    assert len({group_key({"lr": None}), group_key({}), group_key({"arch": None})}) == 3


def test_columns_differ_and_the_first_of_them_may_tell_all():
    assert differing(BOTH) == ["depth", "lr"]
    assert telling(BOTH) == ["depth"]
    assert telling(BOTH, ["lr", "depth"]) == ["lr"]
    assert telling(BOTH, always=PAIR) == ["arch", "dataset", "depth"]
    assert telling(BOTH[:1]) == differing(BOTH[:1]) == []


@pytest.mark.parametrize(
    ("column", "value", "text", "figure"),
    [
        ("weight_decay", 1e-5, "weight_decay=1e-05", "wd 1e-5"),
        ("depth", 5, "depth=5", "depth 5"),
        ("activation", "relu", "activation=relu", "relu"),
        ("device", "cpu", "device=cpu", "device cpu"),
        ("other", "mixup=1", "mixup=1", "mixup=1"),
        ("intervention", "3.0@20+compensate-head", "intervention=3.0@20+compensate-head", "× 3 at 20, head too"),
        ("intervention", "by hand", "intervention=by hand", "by hand"),
        ("arch", None, "arch=?", "arch ?"),
        ("depth", None, "depth=?", "depth ?"),
        ("train_size", None, "train_size=all", "all samples"),
        ("intervention", None, "intervention=none", "not rescaled"),
        ("other", None, "other=none", "other none"),
    ],
)
def test_a_setting_is_written_as_a_text_or_a_figure_writes_it(column: str, value: object, text: str, figure: str):
    assert (TEXT.name(column, value), FIGURE.name(column, value)) == (text, figure)


def test_words_of_a_pair_stand_in_a_row_and_do_not_run_into_each_other():
    pair = {"arch": "a b", "dataset": "c", "depth": 5}
    assert name_groups([pair], TEXT, bare=pair) == ['"a b" c depth=5']
    assert name_groups([pair], FIGURE, bare=PAIR) == ['"a b", c, depth 5']
    assert name_groups([pair], FIGURE, PAIR, bare=PAIR) == ['"a b" c']
    assert name_groups([{"dataset": None}], TEXT, PAIR, bare=PAIR) == ["dataset=?"]


@pytest.mark.parametrize(
    ("naming", "names"),
    [(TEXT, ["lr=0.001000001", "lr=0.001000002"]), (FIGURE, ["lr 0.001000001", "lr 0.001000002"])],
)
def test_numbers_have_as_many_digits_as_tell_them_apart(naming: Naming, names: list[str]):
    groups = [{"lr": 0.001000001}, {"lr": 0.001000002}]
    assert name_groups(groups, naming) == names
    assert name_groups([{"lr": 1 / 3000}], TEXT) == ["lr=0.000333333"]


def test_values_of_a_column_are_written_without_its_name():
    decays = [{"weight_decay": value} for value in (1e-5, 2e-5, None)]
    assert write_values(decays, FIGURE) == ["1e-5", "2e-5", "?"]
    assert write_values([{"train_size": None}, {"train_size": 500}], TEXT) == ["all", "500"]
    near = [{"lr": 0.1}, {"lr": 0.1 + 1.4e-17}]
    assert len(set(write_values(near, TEXT))) == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (512.0, "512"),
        (0.05, "0.05"),
        (1e-4, "1e-4"),
        (5e-05, "5e-5"),
        (0.0, "0"),
        (1234567.0, "1.23457e6"),
        (-2e-9, "-2e-9"),
    ],
)
def test_numbers_are_short(value: float, text: str):
    assert compact(value) == text
