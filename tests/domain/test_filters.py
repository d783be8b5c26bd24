import math
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncdiag.domain.filters import COLUMNS, named_columns, parse_where
from ncdiag.errors import AnalysisError

RUN = {
    "run": "run-7",
    "arch": "mlp",
    "dataset": "mnist",
    "depth": 5,
    "width": 512.0,
    "weight_decay": 1e-5,
    "seed": 3,
    "phases": "ce:200,mse:400",
    "train_size": None,
    "momentum": math.nan,
    "intervention": None,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "dataset=mnist",
        "dataset = 'mnist'",
        'dataset == "mnist"',
        "depth in (5,7)",
        "depth not in (6, 7)",
        "weight_decay = 0.00001",
        "wd=1e-05",
        "weight-decay <= 1e-5",
        "width=512",
        "not depth=6",
        "not not depth=5",
        "NOT depth=6 AND Dataset=mnist",
        "depth=6 or depth=5",
        "depth=6 and depth=5 or seed=3",
        "seed=3 or depth=6 and depth=7",
        "(depth=6 or depth=5) and seed=3",
        "name=run-7",
        "run in (run-6, run-7)",
        "phases='ce:200,mse:400'",
        "train_size=none and momentum = none and intervention=none",
        "arch != none",
        "seed in (none, 3)",
        "seed != 4",
        "not train_size > 0",
        "dataset>=mnis",
    ],
)
def test_holds(text):
    assert parse_where(text)(RUN)


@pytest.mark.parametrize(
    "text",
    [
        "dataset=MNIST",
        "depth=6",
        "depth not in (5)",
        "seed=3 and depth=6",
        "not (depth=5 or depth=6)",
        "(seed=3 or depth=6) and depth=7",
        "train_size>=0",
        "train_size<0",
        "train_size=0",
        "momentum < 1",
        "arch=none",
        "arch='none'",
        "intervention='none'",
    ],
)
def test_does_not_hold(text):
    assert not parse_where(text)(RUN)


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("detph=5", 0, "did you mean depth"),
        ("depth=", 6, "expected a value, found the end"),
        ("depth=five", 6, "depth is a number"),
        ("depth=nan", 6, "depth is a number"),
        ("dataset='mnist", 8, "not closed"),
        ("depth ! 5", 6, "expected !="),
        ("depth in 5", 9, "expected '('"),
        ("depth in ()", 10, "expected a value"),
        ("depth in (5", 11, "expected ')'"),
        ("(depth=5", 8, "expected ')'"),
        ("depth=5 seed=3", 8, "expected 'and', 'or'"),
        ("depth=5)", 7, "expected 'and', 'or'"),
        ("depth 5", 6, "after depth, found '5'"),
        ("and depth=5", 0, "expected a column"),
        ("'depth'=5", 0, "expected a column"),
        ("width < none", 8, "smaller or larger"),
        ("depth=5 and", 11, "expected a column"),
    ],
)
def test_a_mistake_is_pointed_at(text, at, says):
    with pytest.raises(AnalysisError) as caught:
        parse_where(text)
    first, shown, caret = str(caught.value).split("\n")
    assert says in first
    assert shown == f"  {text}"
    assert caret.index("^") == at + 2


def test_a_mistake_in_a_long_filter_is_shown_with_what_is_around_it():
    wrong = "x" * 5000
    with pytest.raises(AnalysisError) as caught:
        parse_where(f"{'depth=1 or ' * 500}seed={wrong} or depth=2")
    first, shown, caret = str(caught.value).split("\n")
    assert first == f"--where: seed is a number, not '{'x' * 40}'"
    assert len(shown) == 302
    assert shown[: caret.index("^")].endswith("or seed=")
    assert shown[caret.index("^") :].startswith("xxx")


def test_an_unknown_column_lists_the_known_ones():
    with pytest.raises(AnalysisError, match=", ".join(COLUMNS)):
        parse_where("colour=red")


def test_parentheses_without_end_are_refused_before_the_stack_is():
    with pytest.raises(AnalysisError, match="50 parentheses"):
        parse_where("(" * 100_000)


@given(st.text(alphabet="depthandornoti ()=<>!,'\"5.\n\0é", max_size=40))
def test_any_text_is_a_filter_or_a_named_mistake(text):
    try:
        parse_where(text)(RUN)
    except AnalysisError as error:
        said = str(error)
    else:
        return
    assert said.count("\n") == 2


OPERATORS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@st.composite
def filters_with_meaning(draw, depth=3):
    """A filter as text, and the same as a Python function."""
    kind = draw(st.sampled_from(["compare", "in"] if depth == 0 else ["compare", "in", "not", "and", "or"]))
    if kind in ("and", "or"):
        parts = draw(st.lists(filters_with_meaning(depth=depth - 1), min_size=2, max_size=3))
        every = all if kind == "and" else any
        return f" {kind} ".join(f"({text})" for text, _ in parts), lambda row: every(test(row) for _, test in parts)
    if kind == "not":
        text, test = draw(filters_with_meaning(depth=depth - 1))
        return f"not ({text})", lambda row: not test(row)
    column = draw(st.sampled_from(["depth", "lr", "seed"]))
    if kind == "in":
        values = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
        return f"{column} in ({','.join(map(str, values))})", lambda row: row[column] in values
    symbol, value = draw(st.sampled_from(sorted(OPERATORS))), draw(st.integers(0, 3))
    return f"{column}{symbol}{value}", lambda row: OPERATORS[symbol](row[column], value)


@given(filters_with_meaning(), st.fixed_dictionaries({name: st.integers(0, 3) for name in ("depth", "lr", "seed")}))
def test_agrees_with_python(pair, row):
    text, test = pair
    assert parse_where(text)(row) is bool(test(row))


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("", False),
        ("intervention != none", True),
        ("depth=5 and (lr=1 or not INTERVENTION=none)", True),
        ("run='intervention'", False),
        ("dataset=mnist", False),
    ],
)
def test_which_columns_a_filter_names(text, asks):
    parse_where(text)
    assert ("intervention" in named_columns(text)) == asks


@pytest.mark.parametrize("text", ["weight_decay=1", "Weight-Decay in (1,2)", "not wd = none"])
def test_a_column_is_named_however_it_is_spelt(text):
    parse_where(text)
    assert named_columns(text) == {"weight_decay"}


OWN = {"other.smoothing": 0.1, "other.Augment": "flip", "other.amp": True, "other.steps": "12", "other.none": None}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("other.smoothing=1e-1", True),
        ("other.smoothing in (0.2, 0.1)", True),
        ("other.smoothing < 0.2 and other.smoothing > 0", True),
        ("other.smoothing=0.2", False),
        ("other.smoothing='0.1'", True),  # as a text
        ("other.Augment=flip", True),
        ("other.augment=flip", False),  # called as its owner called it
        ("other.Augment > 3", False),
        ("other.Augment != 3", True),
        ("other.amp=true", True),
        ("other.amp = True", True),
        ("other.amp=false", False),
        ("other.amp=1", False),
        ("other.steps >= 12", True),
        ("other.none=none", True),
        ("other.unknown=none", True),
        ("other.unknown=0", False),
        ("OTHER.smoothing=0.1", True),
    ],
)
def test_settings_of_ones_own_are_columns(text, fits):
    assert parse_where(text)(OWN) == fits


def test_settings_of_ones_own_are_named():
    text = "other.smoothing=0.1 and (wd=1 or other.Augment='other.quoted')"
    assert named_columns(text) == {"other.smoothing", "weight_decay", "other.Augment"}
