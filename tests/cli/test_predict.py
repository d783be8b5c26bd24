import csv
import io
import json
import math
import re
from pathlib import Path

import pytest
from clihelp import Cli

from ncdiag.domain.forecast import Forecast, RuleScore

CONTRACT = ["run", "status", "epoch_now", "onset", "lo", "hi", "level", "method", "n_calibration", "p_no_collapse"]
TRUE_ONSET = 34 * math.log(100) ** (2 / 3)  # of the run `short`, had it gone on: tests/cli/conftest.py


def test_json_has_the_fields_of_the_contract_first(cli: Cli, store: Path):
    forecast = json.loads(cli("predict", "short", "--format", "json").out)
    assert list(forecast)[: len(CONTRACT)] == CONTRACT
    assert (forecast["run"], forecast["status"], forecast["epoch_now"]) == ("short", "forecast", 80)
    assert forecast["onset"] == pytest.approx(TRUE_ONSET, abs=2)
    assert forecast["lo"] < TRUE_ONSET < forecast["hi"]
    assert forecast["n_calibration"] == 4


def test_the_page_begins_with_a_sentence(cli: Cli, store: Path):
    answer = cli("predict", "short")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.out.startswith("short, now at epoch 80, is expected to collapse at epoch 94, 95% interval:\nepochs ")
    assert max(map(len, answer.out.splitlines())) <= 80


def test_cautions_are_on_the_page(cli: Cli, store: Path):
    (caution,) = json.loads(cli("predict", "short", "--format", "json").out)["warnings"]
    assert f"Keep in mind: - {caution}." in " ".join(cli("predict", "short").out.split())


def test_csv_is_one_row_with_the_figures_of_json(cli: Cli, store: Path):
    (row,) = csv.DictReader(io.StringIO(cli("predict", "short", "--format", "csv").out))
    forecast = json.loads(cli("predict", "short", "--format", "json").out)
    assert float(row["onset"]) == forecast["onset"]
    assert row["status"] == "forecast"


def test_a_run_that_has_collapsed_says_when(cli: Cli, store: Path):
    assert cli("predict", "deep-0").out == "deep-0 collapsed at epoch 91, between its evaluations at 90 and 100.\n"


def test_without_other_runs_there_is_no_forecast_but_a_reason(cli: Cli, store: Path):
    answer = cli("predict", "short", "--where", "run=short")
    assert answer.code == 0
    assert answer.out.startswith("There is no forecast for short, now at epoch 80: ")
    forecast = json.loads(cli("predict", "short", "--where", "run=short", "--format", "json").out)
    assert (forecast["status"], forecast["onset"], forecast["n_calibration"]) == ("no_calibration", None, 0)


def test_without_other_runs_its_own_course_is_told_and_called_unchecked(cli: Cli, store: Path):
    page = " ".join(cli("predict", "short", "--where", "run=short").out.split())
    forecast = json.loads(cli("predict", "short", "--where", "run=short", "--format", "json").out)
    assert forecast["steady"] == pytest.approx(TRUE_ONSET, rel=0.05)
    assert forecast["slowing"] >= forecast["steady"]
    assert f"nc1 reaches 0.01 at epoch {forecast['steady']:.0f} if it goes on falling as it does now" in page
    assert f"at epoch {forecast['slowing']:.0f} if it slows down as it has. No other run here checks that" in page
    page = " ".join(cli("predict", "short", "--where", "run=short", "--eps", "0.012").out.split())
    assert "if it slows down as it has. Nothing checks that." in page  # the study asked at another level
    page = " ".join(cli("predict", "short", "--where", "run=short", "--eps", "1e-9").out.split())
    assert "By its own course" not in page  # too far to be read
    assert "By its own course" not in cli("predict", "short").out  # where others check one, the forecast is the answer


def test_where_narrows_the_other_runs_and_never_the_run_itself(cli: Cli, store: Path):
    forecast = json.loads(cli("predict", "short", "--where", "depth=5", "--format", "json").out)
    assert (forecast["run"], forecast["n_calibration"]) == ("short", 2)


def test_by_widens_or_narrows_the_pair(cli: Cli, store: Path):
    forecast = json.loads(cli("predict", "short", "--by", "arch,depth", "--format", "json").out)
    assert forecast["n_calibration"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["shrt"], 4, "did you mean short?"),
        (["short", "--by", "depht"], 2, "did you mean depth?"),
        (["short", "--where", "depth ="], 2, "--where"),
        (["short", "--eps", "nan"], 2, "--eps"),
        ([], 2, "RUN"),
    ],
)
def test_mistakes_are_named(arguments: list[str], code: int, said: str, cli: Cli, store: Path):
    answer = cli("predict", *arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


def test_the_page_names_the_winner_the_runner_up_and_the_rule_of_fn(cli: Cli, store: Path):
    forecast = json.loads(cli("predict", "short", "--format", "json").out)
    page = cli("predict", "short").out
    assert forecast["rules"][0]["rule"] == forecast["rule"]
    assert re.search(rf"  runner-up +epoch \d+ by {forecast['runner_up']}, error", page)
    assert "judged by" in page
    assert "says epoch" not in page


def test_the_tournament_lists_every_rule(cli: Cli, store: Path):
    forecast = json.loads(cli("predict", "short", "--format", "json").out)
    page = cli("predict", "short", "--tournament").out
    listed = page[page.index("the smallest error first") :].splitlines()[1 : len(forecast["rules"]) + 1]
    assert {line.split("  ")[0] for line in listed} == {score["rule"] for score in forecast["rules"]}
    errors = [float(line.split()[-1]) for line in listed]
    assert errors == sorted(errors)
    rows = list(csv.DictReader(io.StringIO(cli("predict", "short", "--tournament", "--format", "csv").out)))
    assert [row["rule"] for row in rows] == [score["rule"] for score in forecast["rules"]]
    assert float(rows[0]["onset"]) == pytest.approx(forecast["onset"], rel=1e-13)


@pytest.mark.parametrize(
    ("hi", "said"),
    [
        (99.0, "epochs 85 to 99."),
        (5e13, "with no upper limit that says anything."),
        (math.inf, "and perhaps not by 120."),
    ],
)
def test_a_limit_beyond_any_training_is_none(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch, hi: float, said: str
):
    assert told_of(cli, monkeypatch, hi=hi, censored_end=120.0).split(" judged")[0].endswith(said)


def test_an_open_limit_never_names_an_epoch_before_the_forecast(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    """A rule may say up to half as late again as any other run collapsed, and so after the last of them ended."""
    for few in ({"censored_end": 88.0}, {"n_censored": 0, "p_no_collapse": 0.0}):
        page = told_of(cli, monkeypatch, hi=math.inf, **few)
        assert page.split(" judged")[0].endswith("95% interval: not before epoch 85, with no upper limit.")


def test_a_share_that_is_no_count_is_said_beside_it(cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch):
    limits = {"hi": math.inf, "censored_end": 120.0, "p_no_collapse_lo": 0.1, "p_no_collapse_hi": 0.4}
    said = told_of(cli, monkeypatch, p_no_collapse=0.2, **limits)
    assert "1 of 3 by epoch 120, 20% with those that ended earlier (10% to 40%)" in said
    assert "1 of 3 by epoch 120 (10% to 40%)" in told_of(cli, monkeypatch, p_no_collapse=1 / 3, **limits)


def told_of(cli: Cli, monkeypatch: pytest.MonkeyPatch, **figures: float) -> str:
    """Give what is printed of a run that is expected to collapse at epoch 90, as one line."""
    rules = (RuleScore(rule="mean", onset=90.0, mae=10.2),)
    common = {"mae": 10.2, "mae_selected": 10.2, "baseline_mae": 16.2, "n_calibration": 2, "level": 0.95, "lo": 85.0}
    told = {"rule": "mean", "rules": rules, "method": "mean, t interval", "n_censored": 1, "p_no_collapse": 1 / 3}
    found = Forecast(run="short", status="forecast", epoch_now=80.0, onset=90.0, **{**told, **common, **figures})
    monkeypatch.setattr("ncdiag.analysis.stored.forecast_run", lambda *_, **__: found)
    return " ".join(cli("predict", "short").out.split())


@pytest.mark.parametrize(("error", "said"), [(7.9, True), (10.16, False), (12.0, False)])
def test_a_runner_up_that_errs_less_is_explained(
    cli: Cli, store: Path, monkeypatch: pytest.MonkeyPatch, error: float, said: bool
):
    rules = (RuleScore(rule="mean", onset=90.0, mae=10.2), RuleScore(rule="regression", onset=91.0, mae=error))
    figures = {"mae": 10.21, "mae_selected": 10.2, "baseline_mae": 16.2, "n_calibration": 19, "level": 0.95}
    told = {"rule": "mean", "runner_up": "regression", "rules": rules, "method": "mean, t interval"}
    found = Forecast(run="short", status="forecast", epoch_now=80.0, onset=90.0, lo=85.0, hi=99.0, **figures, **told)
    monkeypatch.setattr("ncdiag.analysis.stored.forecast_run", lambda *_, **__: found)
    page = " ".join(cli("predict", "short").out.split())
    assert ("Now regression errs less on the other runs. It was not chosen" in page) == said
    assert "picked afterwards" not in page  # 10.2 beside 10.2 says nothing


def test_two_readings_that_agree_are_said_once(cli: Cli, tmp_path: Path):
    power = math.log(100) / math.log(85)  # of a metric that falls to 0.01 at epoch 85
    rows = "".join(f"{epoch},{epoch**-power!r},1.0\n" for epoch in range(1, 85))
    (tmp_path / "bends.csv").write_text(f"epoch,nc1,feature_norm\n{rows}")
    described = ("--set", "arch=mlp", "--set", "dataset=own")
    assert cli("import", tmp_path / "bends.csv", *described, "--store", tmp_path / "own.db").code == 0
    page = " ".join(cli("predict", "bends", "--store", tmp_path / "own.db").out.split())
    assert "own course alone nc1 reaches 0.01 at epoch 85, as it falls now. No other run here checks that." in page
