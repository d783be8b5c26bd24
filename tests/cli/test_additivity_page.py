from typing import Any

import numpy as np
import pandas as pd
import pytest

from ncdiag.analysis.additivity import additivity_results
from ncdiag.analysis.conditions import CONDITION_COLUMNS
from ncdiag.analysis.terms import Terms
from ncdiag.cli.additivity_page import additivity_page
from ncdiag.cli.page_text import text_of
from ncdiag.domain.result import Result

BASE: dict[str, Any] = {"question": "additivity", "group": {"rows": "arch", "columns": "dataset"}, "level": 0.95}
CELL = {"row": "mlp", "column": "mnist", "n_runs": 3, "n_collapsed": 3, "n_conditions": 1, "fn_star": 1.05}
CELL |= {"t_median": 300.0, "phases": {"2": 3}, "losses": {"mse": 3}}
TEST = {"statistic": 4.0, "df1": 1, "df2": 8, "p_robust": 0.03, "p_permutation": 0.04, "n_permutations": 9999}
TEST |= {"eta2p": 0.3, "eta2p_lo": 0.1, "eta2p_hi": 0.5}


def page(verdict: str, test: dict[str, Any] | None = None, *, ratios: int = 1, **extra: Any) -> str:
    common: dict[str, Any] = {"cells": [CELL], "over": "runs"}
    tests = [
        Result(quantity=name, p=0.02, extra={**TEST, **(test or {}), **common}, **BASE)
        for name in ("interaction_raw", "interaction_log")
    ]
    ratio = Result(
        quantity="ratio_of_ratios",
        estimate=3.32,
        lo=2.6,
        hi=4.2,
        extra={"of_rows": ["resnet20", "mlp"], "of_columns": ["mnist", "cifar10"]},
        **BASE,
    )
    judged = {"verdict": verdict, "alpha": 0.05, "p_raw": 0.03, "p_log": 0.02, "power": -1.5, "p_power": 0.4}
    judged |= {"crossings": [], "blocked": [], **common, **extra}
    told = Result(quantity="verdict", warnings=("3 of 4 cells have a single value",), extra=judged, **BASE)
    text = text_of(additivity_page([*tests, *[ratio] * ratios, told], Terms()))
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ("additive", "anything but a part per arch plus a part per dataset is not shown (p = .03). That is no proof"),
        (
            "multiplicative",
            "the ratio of ratios may differ from 1 by a factor of 4.2",
        ),
        ("removable", "fn* to the power -1.5, they would add"),
        ("neither", "nor do they add on any power"),
        ("not testable", "Two runs in every cell"),
    ],
)
def test_the_reading_follows_the_verdict(verdict: str, said: str):
    assert said in page(verdict)


def test_what_forbids_a_verdict_is_said_with_it():
    why = "1 of 4 cells has a single value, so how much it varies there is not known"
    told = f"does not rule that out. But {why}: no verdict can stand on that."
    assert told in page("removable", blocked=[why])
    assert "no verdict can stand" not in page("additive", blocked=[why])


def test_tests_without_a_shape_are_told_and_two_that_agree_are_one():
    assert "Tukey's" not in page("additive")
    boik = "Boik's p = .01 on the norms, p = .01 on their logs"
    assert f"too (exploratory): {boik}." in page("additive", {"p_boik": 0.01, "p_johnson_graybill": 0.01})
    both = f"{boik}; Johnson and Graybill's p = .2 on the norms, p = .2 on their logs."
    assert both in page("additive", {"p_boik": 0.01, "p_johnson_graybill": 0.2})


def test_what_a_test_without_a_shape_finds_stands_in_the_first_sentences():
    said = "one that sees any shape finds more (Boik's, p = .01, exploratory)."
    assert said in page("additive", {"p_boik": 0.01, "p_johnson_graybill": 0.2})
    assert said in page("multiplicative", {"p_boik": 0.01, "p_johnson_graybill": 0.2})
    assert "sees any shape" not in page("additive", {"p_boik": 0.06, "p_johnson_graybill": 0.2})


def test_an_order_that_changes_is_told_beside_the_power_that_may_remove_it():
    assert "would add: the order of the cells does not rule that out." in page("removable")
    assert "if it is noise that 3 pairs of arch or dataset change their order" in page("removable", reversals=3)


def test_ratios_that_are_not_shown_are_counted():
    text = page("multiplicative", ratios=50)
    assert f"and {50 - text.count('Ratio of ratios: ')} more (--format json)" in text
    assert " more (--format json)" not in page("multiplicative")


def test_a_share_never_lies_outside_its_interval():
    assert "30% (10-50%)" in page("additive")
    small = page("additive", {"eta2p": 0.0055, "eta2p_lo": 0.0, "eta2p_hi": 0.0})
    assert "0.55% (0%)" in small
    assert "the cells agree better than noise alone lets expect" in small
    assert "agree better" not in page("additive")


def test_a_crossover_is_named():
    crossing = {"rows": ["mlp", "cnn"], "columns": ["mnist", "digits"], "changes_sign": "rows"}
    assert "mlp against cnn changes sign between mnist and digits" in page("crossover", crossings=[crossing])


def test_the_figures_are_on_the_page():
    text = page("removable")
    for said in (
        "resnet20 / mlp on mnist is 3.32 times that on cifar10 (95% interval 2.6 to 4.2)",
        "9999 random permutations",
        "30% (10-50%)",
        "each at 0.05",
        "3 of 4 cells have a single value.",
        "mlp mnist 3/3 1 1.050 300 2 mse",
    ):
        assert said in text


@pytest.mark.parametrize("by", [("width",), ("arch", "dataset", "width")])
def test_a_grid_needs_two_factors_and_names_those_that_were_asked_for(make_onsets, by: tuple[str, ...]):
    onsets = make_onsets({("mlp", "mnist"): "mse", ("mlp", "cifar10"): "mse"}).assign(width=64.0)
    terms = Terms(by=by)
    text = text_of(additivity_page(additivity_results(onsets, terms), terms))
    assert text.startswith("Is fn* made of one part per factor?")
    assert f"\n{' x '.join(by)}\n" in text
    assert "None" not in text


def test_a_refused_grid_gives_the_reason(make_onsets):
    onsets = make_onsets({("mlp", "mnist"): "mse", ("mlp", "cifar10"): "mse", ("cnn", "mnist"): "ce"})
    text = " ".join(text_of(additivity_page(additivity_results(onsets, Terms()), Terms())).split())
    assert (
        "In short: not tested: onsets under different losses (mlp mnist: mse; mlp cifar10: mse; cnn mnist: ce)" in text
    )
    assert "--mix-phases" in text
    assert "p permuted" not in text


@pytest.fixture
def make_onsets():
    """The columns of an onset table that a grid needs: two collapsed runs per cell, under the loss given."""

    def build(cells: dict[tuple[str, str], str]) -> pd.DataFrame:
        rows = [
            {
                **dict.fromkeys(CONDITION_COLUMNS),
                "run": f"{arch}-{dataset}-{seed}",
                "arch": arch,
                "dataset": dataset,
                "state": "collapsed",
                "fn_star": 1.0 + np.random.default_rng(seed).random(),
                "onset": 100.0,
                "onset_phase": 2,
                "onset_loss": loss,
                "onset_accuracy": 1.0,
                "hi": 100.0 + seed,
                "after_drop": 0.0,
                "degenerate": 0,
                "figures": None,
            }
            for (arch, dataset), loss in cells.items()
            for seed in range(2)
        ]
        return pd.DataFrame(rows)

    return build
