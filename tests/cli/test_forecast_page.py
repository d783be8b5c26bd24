import json
from pathlib import Path

import pytest
from clihelp import Cli, flat

from ncdiag.analysis.terms import Terms
from ncdiag.cli.forecast_page import forecast_page
from ncdiag.cli.page_text import text_of
from ncdiag.domain.result import Result

PAIR = {"question": "forecast", "group": {"arch": "mlp", "dataset": "digits"}}


def mae(rule: str, estimate: float, warnings: tuple[str, ...] = (), **extra: object) -> Result:
    said = {"held_out": "condition", "primary": True, "epoch": 40.0, "lead": 20.0, "n_asked": 8, "rule": rule, **extra}
    return Result(quantity="mae", estimate=estimate, warnings=warnings, extra=said, **PAIR)


def results(
    *,
    winner: float,
    chosen: str,
    p: float,
    gain: tuple[float, float, float],
    inside: tuple[float, float, float] = (0.75, 0.35, 0.97),
) -> list[Result]:
    """A pair whose guess errs by 10 epochs: the winner's error and rule, the p of its skill, and what fn adds."""
    here = {"held_out": "condition", "primary": True, "epoch": 40.0, "lead": 20.0, "n_asked": 8}
    tested = {"rule": "winner", "p_holm": p, "family": 1, "p_min": 0.001, "primary_test": True}
    voted = {"chosen": chosen, "chosen_held_out": [chosen] * 8, "mae_selected": winner - 1}
    won = mae("winner", winner, ("the runs share a clock",), **voted)
    return [
        won,
        mae("nc1 level", winner - 1, rank=1),
        mae("median", 10.0, rank=2),
        Result(quantity="skill", estimate=1 - winner / 10, level=0.95, p=p, extra={**here, **tested}, **PAIR),
        Result(quantity="fn_gain", estimate=gain[0], lo=gain[1], hi=gain[2], extra={**here, "rule": "mean"}, **PAIR),
        Result(quantity="seed_spread", estimate=7.0, extra=here, **PAIR),
        Result(quantity="noise_floor", estimate=2.0, extra=here, **PAIR),
        Result(
            quantity="coverage",
            estimate=inside[0],
            lo=inside[1],
            hi=inside[2],
            extra={
                "held_out": "condition",
                "nominal": 0.8,
                "n_asked": 8,
                "n_units": 4,
                "over": "conditions",
                "width": 40.0,
                "guess_width": 60.0,
            },
            **PAIR,
        ),
    ]


@pytest.mark.parametrize(
    ("winner", "chosen", "p", "said"),
    [
        (4.0, "nc1 level", 0.01, "the winner errs by 4.0 epochs and guessing by 10.0: better than guessing (p = .01"),
        (4.0, "nc1 level", 0.2, "that this is better than guessing is not shown (p = .2"),
        (12.0, "nc1 level", 0.01, "nobody beats guessing the median onset of the other runs: the winner errs by 12.0 "),
        # varies less, about a mean that is off
        (12.0, "nc1 level", 0.01, "and guessing by 10.0. That the feature norm"),
        (10.0, "median", 1.0, "nobody beats guessing the median onset of the other runs"),
    ],
)
def test_the_page_says_whether_anything_beats_guessing(winner: float, chosen: str, p: float, said: str):
    page = text_of(forecast_page(results(winner=winner, chosen=chosen, p=p, gain=(-0.1, -0.2, 0.0)), Terms()))
    assert said in flat(page)
    assert "in 8 forecasts of 4 conditions: 80% intervals 75% (35% to 97%); the limits count each of" in flat(page)
    assert "Their width: 40.0 epochs (about a guess: 60.0)." in flat(page)
    assert "Noise alone moves an onset by 2.0 epochs on average" in flat(page)
    assert "knew the condition perfectly, and nothing of the run itself, would err by 7.0 epochs." in flat(page)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ((0.75, 0.35, 0.97), "within 5 points of what they promise; with 4 conditions the difference may be chance."),
        ((0.85, 0.81, 0.97), "within 5 points of what they promise. Their width"),
        (
            (0.7, 0.35, 0.97),
            "more than 5 points from what they promise; with 4 conditions the difference may be",
        ),
        ((0.7, 0.6, 0.79), "more than 5 points from what they promise. Their width"),
    ],
)
def test_the_page_says_whether_intervals_hold_what_they_say(inside: tuple[float, float, float], said: str):
    found = results(winner=4.0, chosen="nc1 level", p=0.01, gain=(-0.1, -0.2, 0.0), inside=inside)
    assert f"That is {said}" in flat(text_of(forecast_page(found, Terms())))


@pytest.mark.parametrize(
    ("gain", "said"),
    [
        ((-0.1, -0.2, -0.01), "The feature norm adds nothing: the mean of all rules errs 10% more with the"),
        (
            (-0.1, -0.5, 0.29),
            "is not shown: the mean of all rules errs 10% more with the rules of fn than without",
        ),
        ((-0.1, -0.5, 0.29), "the interval of what they take off the error is -50% to 29%."),
        ((0.0, 0.0, 0.0), "The feature norm adds nothing: no rule of fn has weight"),
        ((0.001, -0.1, 0.1), "errs as much with the rules of fn as without them"),
        ((0.1, -0.2, 0.4), "That the feature norm adds anything is not shown: the mean of all"),
        ((0.3, 0.1, 0.5), "The feature norm adds something: the mean of all rules errs 30% less with the"),
    ],
)
def test_the_page_says_what_fn_adds(gain: tuple[float, float, float], said: str):
    assert said in flat(text_of(forecast_page(results(winner=4.0, chosen="mean", p=0.01, gain=gain), Terms())))


def test_rules_are_listed_by_the_error_that_is_shown():
    found = results(winner=4.0, chosen="nc1 level", p=0.01, gain=(0.3, 0.1, 0.5))
    found += [mae("fn+25%", 2.0, rank=3)]  # the tournament ranks it behind the guess, whose error is 10
    lines = [line.split() for line in text_of(forecast_page(found, Terms())).splitlines()]
    start = lines.index(["rule", "error", "gain", "on", "guess", "interval"])
    assert [line[1:-1] for line in lines[start + 1 : start + 4]] == [["fn+25%"], ["nc1", "level"], ["median"]]
    assert [line[0] for line in lines[start + 1 : start + 4]] == ["1.", "2.", "3."]
    assert "The winner is nc1 level. " in flat(text_of(forecast_page(found, Terms())))


def test_the_report_sets_what_fn_adds_as_text_and_the_cautions_apart():
    page = forecast_page(results(winner=4.0, chosen="mean", p=0.01, gain=(-0.1, -0.2, -0.01)), Terms())
    first = page.parts[0]
    assert [block.kind for block in first.blocks if "adds nothing" in getattr(block, "text", "")] == ["paragraph"]
    assert first.cautions == ["the runs share a clock."]


def test_two_onsets_are_too_few():
    few = Result(
        quantity="mae", status="too_few", warnings=("2 runs with an onset; a contest of rules needs 3",), **PAIR
    )
    assert "2 runs with an onset; a contest of rules needs 3." in text_of(forecast_page([few], Terms()))


def test_the_page_of_a_store_reads_well_at_80_columns(cli: Cli, store: Path):
    answer = cli("analyze", "forecast")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    page = flat(answer.out)
    assert page.index("In short: ") < page.index("Keep in mind:") < page.index("Every run is asked")
    for said in ("each run forecast from the other runs", "fewer than 3 conditions", "the smallest error first"):
        assert said in page


def test_json_has_every_rule(cli: Cli, store: Path):
    found = json.loads(cli("analyze", "forecast", "--format", "json").out)["results"]
    assert {"mae", "skill", "fn_gain", "coverage", "seed_spread", "noise_floor"} == {
        result["quantity"] for result in found
    }
    rules = {result["rule"] for result in found if result["quantity"] == "mae"}
    assert {"winner", "median", "trend", "fn", "nc1 level", "mean", "mean_without_fn"} <= rules
    assert {result["held_out"] for result in found} == {"run"}
