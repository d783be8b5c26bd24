from pathlib import Path

import pytest
from clihelp import Cli

from ncdiag.cli.lead_page import lead_page
from ncdiag.domain.onset import OnsetRule
from ncdiag.domain.result import Result

PAIR = {"question": "lead", "group": {"arch": "mlp", "dataset": "digits"}}


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_page_reads_well_at_80_columns(cli: Cli, store: Path):
    answer = cli("analyze", "lead")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    page = flat(answer.out)
    for said in (
        "A mean lead proves nothing",
        "the mean lead at fn* itself is 0 whatever the data",
        "In short: at a margin of 25%",
        "each run forecast from the other runs",
        "As published (fn* and mean lead from the very runs that are judged)",
        "1 runs that did not",
    ):
        assert said in page
    assert [line.split()[0] for line in answer.out.splitlines() if line.startswith("    ") and "%" in line][:5] == [
        *("0%", "5%", "10%", "25%", "50%")
    ]


def test_json_has_a_result_for_each_margin_and_way_of_holding_out(cli: Cli, store: Path):
    answer = cli("analyze", "lead", "--format", "json")
    for said in ('"margin": 0.25', '"held_out": "run"', '"held_out": "none"', '"baseline": "median"'):
        assert said in answer.out


def test_a_pair_with_few_onsets_says_what_is_missing():
    why = ("2 runs with an onset; a lead needs 3",)
    few = [
        Result(quantity=name, status="too_few", warnings=why, extra={"held_out": "run"}, **PAIR)
        for name in ("lead", "mae", "skill")
    ]
    assert "2 runs with an onset" in lead_page(few, OnsetRule())


def judged(estimate: float, p: float) -> list[Result]:
    about = {"held_out": "run", "margin": 0.25}
    skill = {**about, "baseline": "median", "primary": True, "p_holm": p, "p_min": 0.01}
    rival = {**about, "baseline": "nc1", "primary": False}
    return [
        Result(quantity="skill", estimate=estimate, p=p, extra=skill, **PAIR),
        Result(quantity="skill", estimate=-0.2, p=0.9, extra=rival, **PAIR),
    ]


@pytest.mark.parametrize(
    ("estimate", "p", "said"),
    [
        (0.5, 0.01, "forecasts the onset better than guessing: its error is 50% smaller (p = .01"),
        (0.5, 0.3, "better than guessing is not shown: error 50% smaller (p = .3, smallest possible .01)"),
        (-0.5, 0.9, "no better than guessing: its error is 50% larger"),
        (float("nan"), 0.5, "guessing it is always right"),
    ],
)
def test_the_reading_follows_skill_and_p(estimate: float, p: float, said: str):
    page = flat(lead_page(judged(estimate, p), OnsetRule()))
    assert said in page


def test_the_reading_counts_the_alarms_that_did_better():
    assert "1 of 1 other alarms did better than fn." in flat(lead_page(judged(0.5, 0.3), OnsetRule()))
