import csv
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clihelp import Cli
from scipy import stats

from ncdiag.analysis.terms import Terms
from ncdiag.cli.page_text import text_of
from ncdiag.cli.threshold_page import _conditions, threshold_page
from ncdiag.domain.page import Page, Part
from ncdiag.domain.questions import QUESTIONS
from ncdiag.domain.result import Result

NORMS = np.array([1.1, 1 / 1.1, 1.2, 1 / 1.2])  # of the runs that collapse: tests/cli/conftest.py
CONTRACT = (
    *("question", "quantity", "group", "estimate", "lo", "hi", "level", "p", "n_runs", "n_conditions"),
    *("n_censored", "method", "status", "warnings"),
)


def results(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    answer = cli("analyze", "threshold", "--format", "json", *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["results"]  # type: ignore[no-any-return]


def fn_star(cli: Cli, *arguments: str) -> dict[str, Any]:
    return next(result for result in results(cli, *arguments) if result["quantity"] == "fn_star")


def test_json_has_the_fields_of_the_contract(cli: Cli, store: Path):
    for result in results(cli):
        assert [key for key in CONTRACT if key not in result] == []
    threshold = fn_star(cli)
    assert threshold["group"] == {"arch": "mlp", "dataset": "digits"}
    assert (threshold["n_runs"], threshold["n_conditions"], threshold["n_censored"]) == (5, 2, 1)
    assert [key for key in ("mean", "sd", "cv", "cv_upper", "t_min", "t_max", "phase") if key not in threshold] == []


def test_fn_star_is_the_geometric_mean_with_a_t_interval_on_logs(cli: Cli, store: Path):
    threshold = fn_star(cli)
    lo, hi = stats.t.interval(0.95, 3, loc=0, scale=stats.sem(np.log(NORMS)))
    assert threshold["estimate"] == pytest.approx(1)
    assert (threshold["lo"], threshold["hi"]) == pytest.approx((math.exp(lo), math.exp(hi)))
    assert threshold["mean"] == pytest.approx(NORMS.mean())
    assert threshold["sd"] == pytest.approx(NORMS.std(ddof=1))


def test_the_level_reaches_the_interval(cli: Cli, store: Path):
    threshold = fn_star(cli, "--level", "0.8")
    lo, _ = stats.t.interval(0.8, 3, loc=0, scale=stats.sem(np.log(NORMS)))
    assert (threshold["level"], threshold["lo"]) == (0.8, pytest.approx(math.exp(lo)))


def test_the_onset_options_reach_the_rule(cli: Cli, store: Path):
    # Evaluations are 10 epochs apart; NC1 = exp(-(epoch / time)^1.5) falls below eps at time * ln(1 / eps)^(2/3).
    slowest, fastest = 36, 31
    assert fn_star(cli, "--rule", "first")["t_max"] == 100
    late = fn_star(cli, "--eps", "0.05", "--patience", "1")
    assert late["t_min"] == pytest.approx(fastest * math.log(20) ** (2 / 3), abs=0.5)
    assert late["t_max"] == pytest.approx(slowest * math.log(20) ** (2 / 3), abs=0.5)
    assert late["n_censored"] == 0
    assert fn_star(cli, "--phase", "1")["status"] == "all_censored"
    assert fn_star(cli, "--phase", "3")["status"] == "no_data"
    assert fn_star(cli, "--patience", "99")["status"] == "all_censored"


def test_where_and_by_choose_and_group_the_runs(cli: Cli, store: Path):
    assert fn_star(cli, "--where", "depth=5")["n_runs"] == 2
    groups = [result["group"] for result in results(cli, "--by", "depth") if result["quantity"] == "fn_star"]
    assert groups == [{"depth": 3}, {"depth": 5}]


def test_csv_without_results_has_a_header(cli: Cli, store: Path):
    answer = cli("analyze", "attractor", "--format", "csv")
    assert answer.code == 0
    assert answer.out.startswith("question,quantity,estimate,lo,hi,level,p,n_runs,")
    assert list(csv.DictReader(io.StringIO(answer.out))) == []


def test_csv_is_a_row_per_result_with_everything_in_it(cli: Cli, store: Path):
    rows = list(csv.DictReader(io.StringIO(cli("analyze", "threshold", "--format", "csv").out)))
    assert [row["quantity"] for row in rows] == ["fn_star", "cv", "placebo_cv", "eps_sensitivity", "invariance"]
    assert (rows[0]["group_arch"], rows[0]["group_dataset"]) == ("mlp", "digits")
    assert float(rows[0]["estimate"]) == pytest.approx(1)
    assert rows[0]["p"] == ""
    assert json.loads(rows[0]["warnings"]) == fn_star(cli)["warnings"]


def test_the_page_reads_well_at_80_columns(cli: Cli, store: Path):
    answer = cli("analyze", "threshold")
    lines = answer.out.splitlines()
    assert answer.code == 0
    assert answer.err == ""
    assert max(map(len, lines)) <= 80
    assert lines[3].split() == ["pair", "runs", "fn*", "95%", "interval", "CV", "CV", "up", "to", "onset", "loss"]
    assert lines[4].split()[:5] == ["mlp", "digits", "4/5", "1.000", "0.765-1.31"]
    for said in ("In short: ", "4 of 5 collapsed, 1 ended before an onset", "in phase 2, under mse"):
        assert said in answer.out
    # 2.7676 times 33 and 36, and 31 and 35 beside a run that may never collapse
    rows = [line.split() for line in lines]
    assert ["depth=5", "2/2", "1.000", "95", "91", "100"] in rows
    assert ["depth=3", "2/3", "1.000", "91", "80", "never"] in rows


def test_without_a_question_each_is_answered_in_short(cli: Cli, store: Path):
    answer = cli("analyze")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    claims, *blocks, _ = answer.out.split("\n\n")[1:]
    assert claims in cli("analyze", "claims").out
    assert [block.split("\n")[0] for block in blocks] == [name for name in QUESTIONS if name != "claims"]
    for name, block in zip([name for name in QUESTIONS if name != "claims"], blocks, strict=True):
        page = " ".join(cli("analyze", name).out.split())
        said = (
            " ".join(block.split())
            .removeprefix(f"{name} ")
            .removeprefix("mlp digits: ")
            .removeprefix("arch x dataset: ")
        )
        assert said[1:50] in page


def test_the_help_explains_every_question(cli: Cli):
    explained = re.findall(r"^  ([a-z, -]+): ", cli("analyze", "--help").out, flags=re.MULTILINE)
    assert {name for names in explained for name in names.split(", ")} == set(QUESTIONS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["treshold"], "did you mean threshold?"),
        (["--eps", "nan"], "--eps"),
        (["--eps", "0"], "--eps"),
        (["--eps", "-1"], "--eps"),
        (["--eps", "inf"], "--eps"),
        (["--eps", "1e308"], "--eps must be a number from 1e-300 to 1e+300, such as 0.01, not 1e+308"),
        (["--eps", "5e-324"], "--eps must be a number from 1e-300 to 1e+300, such as 0.01, not 5e-324"),
        (["--eps", "small"], "--eps"),
        (["--patience", "0"], "--patience"),
        (["--level", "95"], "--level"),
        (["--level", "nan"], "--level"),
        (
            ["--level", "0.5"],
            "--level is the confidence of the intervals, above 0.5 and below 1, such as 0.95, not 0.5",
        ),
        (["--metric", "nc5"], "--metric"),
        (["--rule", "last"], "--rule"),
        (["--phase", "0"], "--phase is any, or the number of a phase from 1, not '0'"),
        (["--phase", "last"], "--phase"),
        (["--format", "xml"], "--format"),
        (["--by", "archh"], "did you mean arch?"),
        (["--by", ","], "--by"),
        (["--where", "depth >"], "--where"),
        (["--where", "depth=99"], "none of the 5 runs"),
    ],
)
def test_what_cannot_be_asked_is_said_and_has_exit_code_2(arguments: list[str], said: str, cli: Cli, store: Path):
    answer = cli("analyze", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


PAIR: dict[str, Any] = {"question": "threshold", "group": {"arch": "mlp", "dataset": "digits"}, "level": 0.95}
COUNTS = {f"n_{state}": 0 for state in ("collapsed", "unconfirmed", "left_censored", "diverged", "dead", "no_data")}


@pytest.mark.parametrize(
    ("status", "counts", "said"),
    [
        ("all_censored", {}, "no run collapsed"),
        ("all_censored", {}, "The lowest value that any run has reached is 0.133."),
        ("all_censored", {"lowest": None}, "a larger --eps may help. Runs:"),
        ("all_censored", {"n_unconfirmed": 1}, "--patience"),
        ("all_censored", {"n_unconfirmed": 1}, "imported runs, which cannot be, count with --rule first"),
        ("left_censored", {"n_left_censored": 2}, "Evaluate more often"),
        ("diverged", {"n_diverged": 2}, "2 diverged"),
        ("dead", {"n_dead": 2}, "no collapse"),
        ("not_testable", {"n_collapsed": 2}, "no feature norm"),
        ("no_data", {"n_no_data": 2}, "not measured"),
    ],
)
def test_a_pair_without_fn_star_says_why(status: Any, counts: dict[str, int | None], said: str):
    extra = {**COUNTS, "lowest": 0.1334, **counts}
    empty = [Result(quantity=quantity, status=status, n_runs=2, extra=extra, **PAIR) for quantity in ("fn_star", "cv")]
    assert said in " ".join(text_of(threshold_page(empty, Terms())).split())


@pytest.mark.parametrize(
    ("status", "verdict", "said"),
    [
        ("ok", "supported", "there are enough runs to say so"),
        ("ok", "refuted", "it is not one value"),
        ("ok", "inconclusive", "cannot be said yet"),
        ("ok", "not testable", "cannot be said from so few runs"),
        ("too_few", "not testable", "a second one would give an interval"),
        ("zero_variance", "not testable", "copies of one"),
    ],
)
def test_the_reading_follows_the_verdict(status: Any, verdict: str, said: str):
    page = reading(status, verdict, {"mse": 3})
    assert said in page
    assert "of this one condition" not in page
    assert "epochs 10 to 30, median 20, 1 in phase 1, 2 in phase 2, under mse" in page


def test_how_much_one_condition_varies_is_said_of_that_condition_alone():
    said = "it varies by less than 8% from run to run of this one condition, and there are enough runs to say so."
    assert said in reading("ok", "supported", {"mse": 3}, n_conditions=1)


def test_what_forbids_a_verdict_is_said_with_it():
    why = "2 of 3 onsets follow a drop of the learning rate"
    assert f"so it is not one value. But {why}." in reading("ok", "refuted", {"mse": 3}, blocked=[why])
    assert f"But {why}" not in reading("ok", "inconclusive", {"mse": 3}, blocked=[why])


def test_onsets_under_two_losses_get_no_verdict():
    page = reading("ok", "supported", {"ce": 1, "mse": 2})
    assert "it was read under two losses (ce: 1, mse: 2) and is not one quantity: choose one with --phase." in page
    assert "enough runs to say so" not in page
    assert "epochs 10 to 30, median 20, 1 in phase 1, 2 in phase 2, 1 under ce, 2 under mse" in page
    assert "choose one with --where." in reading("ok", "supported", {"ce": 1, "focal": 2}, phases={"1": 3})


def test_what_only_some_runs_say_is_not_said_of_all():
    page = reading("ok", "supported", {"mse": 1}, phases={"2": 1})
    said = "1 in phase 2, 2 in an unknown phase, 1 under mse, 2 under an unknown loss"
    assert f"epochs 10 to 30, median 20, {said}" in page
    assert "10-30 mse/?" in page


def test_the_confidence_of_a_median_is_that_of_conditions_with_an_interval():
    row = {"n_runs": 6, "n_collapsed": 6, "fn_star": 1.0, "median": 20.0, "median_lo": 10.0, "median_hi": 30.0}
    rows = [{**row, "condition": "lr=0.1", "median_level": 0.96875}]  # 1 - 2 x 0.5^6
    single = {**row, "condition": "lr=0.2", "n_runs": 1, "n_collapsed": 1, "median_level": 0.0}
    rows.append({**single, "median_lo": None, "median_hi": None})
    without = {**single, "condition": "lr=0.3", "n_collapsed": 0, "fn_star": None}
    page = reading("ok", "inconclusive", {"mse": 3}, [*rows, without])
    assert "with an interval that holds it with 96.9% confidence or more. 1 further condition (1 run) has" in page
    assert "onset: the median. 1 further condition" in reading(
        "ok", "inconclusive", {"mse": 3}, [rows[1]] * 2 + [without]
    )


def test_conditions_that_are_not_shown_are_counted():
    row = {"n_runs": 6, "n_collapsed": 6, "fn_star": 1.0, "median": 20.0, "median_lo": 10.0, "median_hi": 30.0}
    page = reading("ok", "inconclusive", {"mse": 3}, [{**row, "condition": "seen", "median_level": 0.9}] * 50)
    assert f"and {50 - page.count('seen 6/6')} more (--format json)" in page


def test_the_name_of_a_condition_takes_as_many_lines_as_it_needs():
    row = {"n_runs": 6, "n_collapsed": 6, "fn_star": 1.0, "median": 20.0, "median_lo": 10.0, "median_hi": 30.0}
    label = "depth=5, width=256, activation=leaky_relu, train_size=2000, lr=0.002, weight_decay=0.00015, batch_size=32"
    rows = [{**row, "condition": name, "median_level": 0.9} for name in (label, "depth=3")]
    table = text_of(Page("", [Part(_conditions(rows), heading="pair")])).splitlines()
    assert max(map(len, table)) <= 80
    assert "weight_decay=0.00015," in " ".join(table)
    assert [line.split()[-5:] for line in table if "6/6" in line] == [["6/6", "1.000", "20", "10", "30"]] * 2


def reading(
    status: Any,
    verdict: str,
    losses: dict[str, int],
    conditions: list[dict[str, Any]] | None = None,
    *,
    blocked: list[str] | None = None,
    n_conditions: int = 2,
    phases: dict[str, int] | None = None,
) -> str:
    """Give the page of three runs with a CV of 10 %."""
    without_limits = status != "ok"
    extra = {
        **COUNTS,
        "n_collapsed": 3,
        "blocked": blocked or [],
        "mean": 1.0,
        "sd": 0.1,
        "cv": 0.1,
        "log_cv": 0.1,
        "cv_upper": 0.2,
        "t_min": 10.0,
    }
    extra |= {"t_max": 30.0, "t_median": 20.0, "phases": phases or {"1": 1, "2": 2}, "losses": losses}
    limits = {} if without_limits else {"lo": 0.9, "hi": 1.1}
    pair = Result(
        quantity="fn_star",
        estimate=1.0,
        status=status,
        n_runs=3,
        n_conditions=n_conditions,
        extra={**extra, "conditions": conditions or []},
        **limits,
        **PAIR,
    )
    spread = Result(
        quantity="cv", estimate=0.1, status=status, n_runs=3, extra={"claim": 0.08, "verdict": verdict}, **PAIR
    )
    return " ".join(text_of(threshold_page([pair, spread], Terms())).split())
