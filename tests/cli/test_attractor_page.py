import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clihelp import Cli, flat

from ncdiag.analysis.terms import Terms
from ncdiag.cli.attractor_page import attractor_page
from ncdiag.cli.page_text import text_of
from ncdiag.domain.result import Result

GROUP = {"arch": "mlp", "dataset": "digits", "epoch": 10, "head": "kept", "up": 3.0, "down": 0.3}
PAIR: dict[str, Any] = {"question": "attractor", "group": GROUP}


def test_without_interventions_it_says_how_to_make_them(cli: Cli, store: Path):
    answer = cli("analyze", "attractor")
    assert (answer.code, answer.err) == (0, "")
    assert "ncdiag sweep --preset intervention" in flat(answer.out)
    assert '"results": []' in cli("analyze", "attractor", "--format", "json").out


def results(verdict: str, **said: Any) -> list[Result]:
    ratio: dict[str, Any] = {"n_pairs": 3, "ratio": 1.1, "pairs_needed": 12, "conditions": []}
    ratio |= {"p_equivalence": 0.4, "p_difference": 0.2}
    arms = [
        Result(
            quantity="log_ratio",
            estimate=0.095,
            lo=-0.01,
            hi=0.2,
            extra={**ratio, "arm": arm, "p_published_onset": 0.6},
            **PAIR,
        )
        for arm in ("up_control", "down_control", "up_down")
    ]
    still = {"n_used": 3, "n_left_out": 1, "of_most": True, "watched": 12.0, "p_each": None}
    half = {"arm": "up_control", "n_seen": 2, "n_pairs": 3, "flags": {"faster_than_sampling": 1}}
    extra = {"verdict": verdict, "lacks": "", "blocked": [], "different": [], "not_shown": [], "returned": True, **said}
    return [
        *arms,
        Result(quantity="half_life", estimate=5.0, lo=3.0, hi=8.0, extra=half, **PAIR),
        Result(quantity="drift", estimate=0.01, extra={**still, "ratio": 1.01, "outcome": "equivalent"}, **PAIR),
        Result(quantity="settled", estimate=-0.1, extra={**still, "ratio": 0.9, "outcome": "inconclusive"}, **PAIR),
        Result(quantity="verdict", extra=extra, warnings=("keep this",), **PAIR),
    ]


@pytest.mark.parametrize(
    ("verdict", "said", "expected"),
    [
        ("supported", {}, "comes back to that of the untouched run from both sides"),
        (
            "refuted",
            {"different": ["up_control", "drift"]},
            "back and stay within this training. More than 8% apart, beyond chance: up / control, fn after onset",
        ),
        ("inconclusive", {"not_shown": ["settled"]}, "not shown within 8%: fn at the end against fn at onset."),
        ("inconclusive", {"returned": False}, "the return itself was not seen in most pairs."),
        (
            "not testable",
            {"lacks": "1 seed with every arm; two are the least"},
            "not tested: 1 seed with every arm; two",
        ),
    ],
)
def test_the_reading_follows_the_verdict(verdict: str, said: dict[str, Any], expected: str):
    page = text_of(attractor_page(results(verdict, **said), Terms()))
    assert expected in flat(page)
    assert max(map(len, page.splitlines())) <= 80
    assert ("would show equality" in page) == (verdict == "inconclusive")


def test_more_pairs_are_asked_for_only_where_there_are_fewer():
    found = [
        replace(result, extra={**result.extra, "n_pairs": 12}) if result.quantity == "log_ratio" else result
        for result in results("inconclusive")
    ]
    assert "would show equality" not in flat(text_of(attractor_page(found, Terms())))


def test_the_page_names_the_arms_and_what_was_found():
    page = flat(text_of(attractor_page(results("inconclusive", not_shown=["up_control"]), Terms())))
    for said in (
        "mlp digits, x 0.3 and x 3 after epoch 10, head as it was",
        "up / control 3 1.100 0.990-1.221 .4 .2 .6",
        "up / control: the part of the difference that fades has a half-life of 5 epochs (3 to 8), seen in 2 of 3 "
        "pairs, in 1 of them faster than evaluations can show. What stays is in the ratio.",
        "Over the last third after onset (12 epochs) fn of 3 of 4 controls changes by +1.0%: within 8%",
        "From onset to the end (12 epochs) fn of 3 of 4 controls changes by -10.0%: not shown to be within 8%",
        "12 pairs would show equality four times out of five",
        "- keep this.",
    ):
        assert said in page


def test_a_standstill_of_a_few_controls_is_not_called_one():
    found = [
        replace(one, extra={**one.extra, "n_used": 1, "n_left_out": 3, "of_most": False}) for one in results("x")[4:5]
    ]
    page = flat(text_of(attractor_page([*found, results("not testable")[-1]], Terms())))
    assert "within 8% in these; most did not go on long enough to tell." in page
    assert "stands still" not in page


def test_an_arm_that_nobody_ran_is_a_dash():
    missing = Result(
        quantity="log_ratio",
        estimate=math.nan,
        extra={"arm": "up_control", "n_pairs": 0},
        status="not_testable",
        **PAIR,
    )
    page = text_of(attractor_page([missing, results("not testable")[-1]], Terms()))
    assert "up / control      0" in page


def test_conditions_stand_below_their_arm_the_first_six_of_them():
    first, *rest = results("inconclusive")
    conditions = [
        {"condition": f"width={n}", "n_pairs": 2, "ratio": n, "lo": 0.0, "hi": math.log(2), "p": 0.01 * n}
        for n in range(8)
    ]
    conditions[0] |= {"n_pairs": 1, "lo": None, "hi": None, "p": None}
    with_conditions = replace(first, extra={**first.extra, "conditions": conditions})
    page = text_of(attractor_page([with_conditions, *rest], Terms()))
    rows = [" ".join(line.split()) for line in page.splitlines() if "width=" in line or "more" in line]
    assert rows[:2] == ["width=0 1 0.000 - -", "width=1 2 1.000 1.000-2.000 .01"]
    assert rows[5:] == ["width=5 2 5.000 1.000-2.000 .05", "and 2 more (--format json)"]


def test_the_confidence_asked_for_is_that_of_the_page():
    """Two one-sided tests at 1 % have an interval of 98 %, and an order with p = .03 is not shown by them."""
    order = Result(quantity="onset_order", estimate=0.1, p=0.03, extra={"ratio": 1.1, "n_pairs": 3}, **PAIR)
    found = [order, *results("inconclusive")]
    pages = {level: flat(text_of(attractor_page(found, Terms(level=level)))) for level in (0.95, 0.99)}
    assert "ratio 90% interval" in pages[0.95]
    assert "ratio 98% interval" in pages[0.99]
    assert "below .05 it is shown" in pages[0.95]
    assert "below .01 it is shown" in pages[0.99]
    assert "that it comes later is shown (p = .03)" in pages[0.95]
    assert "that it comes later is not shown (p = .03)" in pages[0.99]
