import math
from collections.abc import Sequence
from typing import Any

import pytest
from clihelp import flat

from ncdiag.cli.norm_words import norm_text
from ncdiag.cli.page_text import text_of
from ncdiag.cli.threshold_words import check_blocks, condition_effect, invariance_words
from ncdiag.domain.p_values import p_text
from ncdiag.domain.page import Block, Page, Part, Table


def said_by(blocks: Sequence[Block]) -> str:
    return flat(text_of(Page("", [Part(blocks)])))


def placebo(**said: Any) -> dict[str, Any]:
    fixed = {
        "quantity": "placebo_cv",
        "status": "ok",
        "level": 0.95,
        "epoch": 280.0,
        "at_one_epoch": False,
        "claim": 0.08,
        "p": 0.18,
        "p_min": 1 / 24,
    }
    plain = {"cv": 0.3, "cv_at_onset": 0.31}  # sd / mean over all runs: not what the test is on
    return {**fixed, **plain, "estimate": 0.107, "log_cv_at_onset": 0.062, **said}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {},
            "fn at one fixed epoch (280) varies by 10.7%, at onset by 6.2%. That it varies less at onset is not shown",
        ),
        ({}, "(p = .18, with so few runs at least .042): a low CV partly says that fn is flat by then."),
        ({"p": 0.001}, "it varies less at onset than at that epoch (p = .001)."),
        ({"p": None, "status": "too_few"}, "Too few runs to say which is less."),
        ({"at_one_epoch": True}, "the runs collapsed at that epoch, so both are one reading."),
        ({"status": "zero_variance", "p": None}, "the two readings do not differ"),
    ],
)
def test_the_spread_at_a_fixed_epoch_is_put_into_words(said: dict[str, Any], expected: str):
    assert expected in said_by(check_blocks([placebo(**said)]))


def test_only_a_low_spread_at_onset_is_laid_to_a_flat_norm():
    page = said_by(check_blocks([placebo(estimate=0.376, log_cv_at_onset=0.306)]))
    assert "varies by 37.6%, at onset by 30.6%. That it varies less at onset is not shown (p = .18" in page
    assert "low CV" not in page


def test_without_a_placebo_nothing_is_said():
    assert check_blocks([placebo(cv=None)]) == []


MSE = {"losses": {"mse": 12}, "phases": {"2": 12}}


def sensitivity(**said: Any) -> dict[str, Any]:
    rows = [
        {"eps": 0.005, "n_collapsed": 0, "fn_star": None, "cv": None, "onset": None, "losses": {}, "phases": {}},
        {"eps": 0.01, "n_collapsed": 12, "fn_star": 1.05, "cv": 0.062, "onset": 320.0, **MSE},
        {"eps": 0.05, "n_collapsed": 12, "fn_star": 2.12, "cv": 0.69, "onset": 210.0, **MSE},
    ]
    ps = {"p": 0.4, "p_difference": 0.003, "p_beyond": 0.01, "level": 0.9}
    tests = {**ps, "curve": rows, "status": "ok", "n_used": 7, "n_across": 0, "over": "runs"}
    return {"quantity": "eps_sensitivity", "estimate": math.log(1.1), **tests, **said}


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        ("equivalent", "fn* hardly depends on eps (within 8%)"),
        ("equivalent but different", "depends on eps, but by less than 8%"),
        ("different", "it is the norm at an epoch, not at an event"),
        ("inconclusive", "cannot be said yet"),
        ("not testable", "too few runs"),
        ("inconclusive", "cannot be said yet (test that it is within 8%: p = .4)."),
        ("different", "it is the norm at an epoch, not at an event (test that it changes: p = .003)."),
        ("equivalent but different", "(test that it changes: p = .003; test that it is within 8%: p = .4)."),
    ],
)
def test_the_dependence_on_eps_is_put_into_words(outcome: str, expected: str):
    page = said_by(check_blocks([sensitivity(outcome=outcome)]))
    assert "From 2 eps to eps/2 fn* changes by +10.0% (of 7 runs with an onset at both); " in page
    assert expected in page


@pytest.mark.parametrize(("p_beyond", "beyond"), [(0.049, True), (0.06, False), (None, False)])
def test_a_change_with_eps_that_may_be_within_the_margin_is_not_called_one_of_epochs(p_beyond: float, beyond: bool):
    """The claims table calls the same change a refutation, or open; an interval of 90 % is one of tests at 5 %."""
    page = said_by(check_blocks([sensitivity(outcome="different", p_beyond=p_beyond)]))
    assert ("it is the norm at an epoch, not at an event" in page) == beyond
    assert ("fn* depends on eps; whether by more than 8% cannot be said yet" in page) != beyond


def test_runs_are_named_where_the_change_with_eps_rests_on_others_than_its_table():
    row = {"n_collapsed": 9, "fn_star": 1.0, "cv": 0.1, "onset": 9.0, "losses": {"mse": 9}, "phases": {"2": 9}}
    rows = [{**row, "eps": eps} for eps in (0.005, 0.01, 0.02)]
    same = {"curve": rows, "outcome": "different"}
    assert "changes by +10.0%; fn*" in said_by(check_blocks([sensitivity(**same, n_used=9)]))
    weighed = said_by(check_blocks([sensitivity(**same, n_used=9, over="conditions")]))
    assert "changes by +10.0% (of 9 runs with an onset at both, conditions weighing alike); fn*" in weighed
    across = said_by(check_blocks([sensitivity(**same, n_used=4, n_across=5)]))
    assert "(of 4 runs with an onset at both, in one phase)" in across
    assert "(of 1 run with an onset at both)" in said_by(check_blocks([sensitivity(**same, n_used=1)]))


def test_runs_that_do_not_differ_are_not_called_too_few():
    said = {"outcome": "not testable", "p": None}
    assert "there is no noise to set beside 8%" in said_by(check_blocks([sensitivity(**said, status="zero_variance")]))
    assert "too few runs" in said_by(check_blocks([sensitivity(**said, status="too_few")]))


def test_norms_at_other_eps_are_a_table():
    (table,) = check_blocks([sensitivity(estimate=None, outcome="not testable")])
    assert isinstance(table, Table)
    assert table.rows[1:] == [
        ["0.01", "12", "1.050", "6.2%", "320"],
        ["0.05", "12", "2.120", "69%", "210"],
    ]


@pytest.mark.parametrize(
    ("first", "second", "column", "legend"),
    [
        ({"losses": {"mse": 12}, "phases": {"2": 12}}, {"losses": {"mse": 12}, "phases": {"2": 12}}, [], False),
        ({"losses": {}, "phases": {}}, {"losses": {}, "phases": {}}, [], False),
        (
            {"losses": {"mse": 12}, "phases": {"2": 12}},
            {"losses": {"ce": 12}, "phases": {"1": 12}},
            ["mse", "ce"],
            False,
        ),
        ({"losses": {"mse": 12}}, {"losses": {"mse": 10, "ce": 2}}, ["mse", "ce/mse"], True),
        ({"losses": {"mse": 10, "ce": 2}}, {"losses": {"mse": 10, "ce": 2}}, ["ce/mse", "ce/mse"], True),
        ({"losses": {"mse": 11}}, {"losses": {}}, ["mse/?", "-"], True),
        (
            {"losses": {"mse": 12}, "phases": {"2": 12}},
            {"losses": {"mse": 12}, "phases": {"1": 9, "2": 3}},
            ["2", "1/2"],
            True,
        ),
    ],
)
def test_the_table_by_eps_says_under_which_loss_where_that_is_not_one(first, second, column, legend):
    rows = [
        {"eps": eps, "n_collapsed": 12, "fn_star": 1.0, "cv": 0.1, "onset": 9.0, "phases": {}, **said}
        for eps, said in ((0.01, first), (0.02, second))
    ]
    table, *rest = check_blocks([sensitivity(estimate=None, curve=rows)])
    assert isinstance(table, Table)
    assert table.rows[0][5:] == ([] if not column else ["phase"] if column[0] == "2" else ["loss"])
    assert [row[5:] for row in table.rows[1:]] == ([[each] for each in column] or [[], []])
    assert ("fn there is not one quantity" in said_by(rest)) == legend


def test_figures_are_written_alike_everywhere():
    assert [p_text(p) for p in (None, 0.00001, 0.0416, 0.5, 1.0)] == ["-", "< .0001", ".042", ".5", "1"]
    assert norm_text(1.05) == "1.050"


def test_the_effect_of_conditions():
    assert condition_effect({"cv_conditions": None, "icc": None}) == []
    assert "differs by 4.58% from condition to condition (49% of the variance)" in flat(
        " ".join(condition_effect({"cv_conditions": 0.0458, "icc": 0.49}))
    )


def invariance(**said: Any) -> dict[str, Any]:
    fixed = {"status": "ok", "margin": math.log(1.08), "estimate": math.log(1.3), "hi": math.log(1.4), "level": 0.95}
    named = {"furthest": "depth=3", "furthest_runs": 4, "beyond": "depth=3", "beyond_runs": 4, "p_rate": 0.03}
    return {**fixed, **named, "verdict": "refuted", **said}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "depth=3, is 30% from their mean; by its 4 runs that is more than 8%, with 95% confidence"),
        ({"furthest": "depth=2", "furthest_runs": 1}, "depth=2, with a single run, is 30% from their mean"),
        ({"furthest": "depth=2", "furthest_runs": 1}, "depth=3 is, by its 4 runs, off the mean of those with several"),
        ({"verdict": "inconclusive", "level": 0.99}, "is not shown: with 99% confidence only within 40%"),
        ({"verdict": "supported", "beyond": None, "beyond_runs": 0}, "all lie within 8% of it"),
        ({"verdict": "inconclusive", "beyond": None, "beyond_runs": 0}, "only within 40%"),
        ({}, "that they differ in their onset is shown (p = .03)"),
        ({"level": 0.99}, "that they differ in their onset is not shown (p = .03)"),
    ],
)
def test_whether_conditions_agree_is_put_into_words(said: dict[str, Any], expected: str):
    assert expected in flat(" ".join(invariance_words(invariance(**said))))


def test_a_test_counts_at_the_level_asked_for():
    assert "varies less at onset than at that epoch (p = .03)" in said_by(check_blocks([placebo(p=0.03, level=0.95)]))
    assert "is not shown (p = .03" in said_by(check_blocks([placebo(p=0.03, level=0.99)]))
