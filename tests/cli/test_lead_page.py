from pathlib import Path

from clihelp import Cli, flat

from ncdiag.analysis.terms import Terms
from ncdiag.cli.lead_page import lead_page
from ncdiag.cli.page_text import text_of
from ncdiag.domain.result import Result

PAIR = {"question": "lead", "group": {"arch": "mlp", "dataset": "digits"}}


def test_the_page_reads_well_at_80_columns(cli: Cli, store: Path):
    answer = cli("analyze", "lead")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    page = flat(answer.out)
    assert page.index("In short: ") < page.index("Keep in mind:") < page.index("The alarm is") < page.index(" Columns ")
    for said in (
        "A mean lead proves nothing",
        "the mean lead at fn* is 0 whatever the data",
        "In short: ",
        "each run forecast from the other runs",
        "Asked at the same epoch of every run that has not collapsed",
        "Every run is beyond that level when first evaluated, so there is no lead",
        "by the median onset of the condition most like its own",
        "collapses first in",
        "As published (fn* and mean lead from the very runs that are judged)",
        "Of 1 run that did not collapse, 0 crossed it too: false alarms",
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
    assert "2 runs with an onset" in text_of(lead_page(few, Terms()))


def test_runs_that_collapse_together_leave_nothing_to_forecast_and_no_table():
    about = {"held_out": "run", "margin": 0.25}
    same = [
        Result(quantity="skill", status="zero_variance", extra={**about, "baseline": "median", "primary": True}, **PAIR)
    ]
    page = flat(text_of(lead_page(same, Terms())))
    assert "all runs collapsed at the same epoch, so guessing it is always right" in page
    assert "Columns" not in page


def test_cautions_are_those_of_the_comparison_with_guessing_and_not_what_the_page_explains_anyway():
    about = {"held_out": "run", "margin": 0.25, "primary": True}
    cautions = {"median": ("few runs", "0 by construction"), "nc1": ("another baseline",)}
    same = [
        Result(quantity="skill", status="zero_variance", warnings=said, extra={**about, "baseline": baseline}, **PAIR)
        for baseline, said in cautions.items()
    ]
    assert "Keep in mind: - few runs." in (page := flat(text_of(lead_page(same, Terms()))))
    assert "0 by construction" not in page
    assert "another baseline" not in page


def test_where_nothing_collapsed_the_page_is_short(cli: Cli, store: Path):
    answer = cli("analyze", "lead", "--eps", "1e-6")
    assert "0 runs with an onset" in answer.out
    assert "Columns" not in answer.out
