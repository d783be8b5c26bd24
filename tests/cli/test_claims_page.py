import json
import re
import shlex
from pathlib import Path

import pytest
from clihelp import Cli
from falling import falling

from ncdiag.analysis.terms import Terms
from ncdiag.cli.claims_page import _names, claims_page
from ncdiag.cli.page_text import text_of
from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import PhaseSpec
from ncdiag.store.engine import open_store
from ncdiag.store.imports import import_runs
from ncdiag.store.runs import add_run

NUMBERS = ["1", "2", "3", "4", "5", "6a", "6b", "6c", "6d"]


def results(cli: Cli, *arguments: str) -> list[dict]:
    answer = cli("analyze", "claims", "--format", "json", *arguments)
    assert answer.code == 0, answer.err
    return json.loads(answer.out)["results"]


def test_json_has_a_verdict_a_reason_and_a_command_for_each_claim(cli: Cli, store: Path):
    found = results(cli)
    assert [result["quantity"] for result in found] == [f"claim_{number}" for number in NUMBERS]
    for result in found:
        assert result["question"] == "claims"
        assert {"claim", "published", "ours", "verdict", "reason", "command", "parts", "p_holm"} <= set(result)


def test_csv_has_the_same(cli: Cli, store: Path):
    header = cli("analyze", "claims", "--format", "csv").out.splitlines()[0].split(",")
    assert {"question", "quantity", "claim", "published", "verdict", "reason", "command"} <= set(header)


def test_the_page_has_a_row_for_each_claim_and_fits(cli: Cli, store: Path):
    answer = cli("analyze", "claims")
    assert (answer.code, answer.err) == (0, "")
    assert max(map(len, answer.out.splitlines())) <= 80
    table = answer.out.split("\n\n")[1].splitlines()
    assert table[0].split() == ["claim", "published", "here", "verdict"]
    assert [line.split()[0] for line in table[1:]] == NUMBERS
    assert "not testable: all runs have one width (128)" in " ".join(answer.out.split())


def test_commands_on_the_page_are_those_of_the_results(cli: Cli, store: Path):
    page = cli("analyze", "claims").out
    joined = re.sub(r" \\\n +", " ", page)
    shown = {tuple(shlex.split(line)) for line in joined.splitlines() if line.startswith("    ncdiag sweep")}
    assert shown == {tuple(shlex.split(result["command"])) for result in results(cli) if result["command"]}


def test_more_runs_like_those_that_never_collapsed_are_not_offered_without_a_word(cli: Cli, store: Path):
    warning = "more runs like them may have none either: give the last --phase more epochs"
    assert warning not in " ".join(cli("analyze", "claims").out.split())
    assert warning in " ".join(cli("analyze", "claims", "--eps", "1e-9").out.split())


def test_a_store_that_was_named_is_named_in_the_commands(cli: Cli, store: Path, tmp_path: Path):
    named = Path(store).rename(tmp_path / "my runs.db")
    for result in results(cli, "--store", str(named)):
        assert result["command"].endswith(f" --store '{named}'")


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_password_of_the_store_is_not_printed(cli: Cli, store: Path, tmp_path: Path, form: str):
    named = Path(store).rename(tmp_path / "my.db")
    answer = cli("analyze", "claims", "--format", form, "--store", f"sqlite://me:secret@host/{named}")
    assert answer.code == 0
    assert f"--store {named}" in answer.out
    assert "secret" not in answer.out + answer.err


def test_groups_are_named_by_as_little_as_tells_them_apart():
    pair = {"arch": "mlp", "dataset": "digits"}
    groups = [
        {**pair, "depth": 5, "lr": 0.008, "schedule": "cosine"},
        {**pair, "depth": 5, "lr": 0.001, "schedule": "constant"},
        {**pair, "depth": 7, "lr": 0.001, "schedule": "constant"},
    ]
    assert _names(groups) == [
        "mlp digits depth=5 lr=0.008",
        "mlp digits depth=5 lr=0.001",
        "mlp digits depth=7 lr=0.001",
    ]
    assert _names(groups[:2]) == ["mlp digits lr=0.008", "mlp digits lr=0.001"]
    long = [{"arch": "convnext_xxlarge.clip_laion2b", "dataset": name} for name in ("flowers-v2", "imagenet-100")]
    assert _names(long) == ["convnext_xxla~2b flowers-v2", "convnext_xxla~ imagenet-100"]


def fill(path: Path) -> None:
    """Make a store with runs of every kind of network: trained, imported, rescaled, and of unknown kinds."""
    phases = (PhaseSpec.parse("ce:20@10"), PhaseSpec.parse("mse:40"))
    given = [
        {"arch": "mlp", "dataset": "digits", "weight_decay": 0.0},
        {"arch": "cnn", "dataset": "mnist", "train_size": 500, "optimizer": "sgd", "phases": phases},
        {"arch": "resnet20", "dataset": "cifar10", "batch_size": 64, "eval_every": 5},
        {"arch": "mlp", "dataset": "digits", "stop_at_onset": True, "eps": 0.02},
    ]
    with open_store(str(path), write=True) as opened:
        for one in given:
            add_run(opened, complete_spec(one))
        imported = [falling(f"i{seed}", depth=5, seed=seed, norm=1 + 0.01 * seed) for seed in range(3)]
        import_runs(opened, imported)


@pytest.mark.usefixtures("untried")
@pytest.mark.parametrize(
    "where",
    ["arch=mlp and dataset=digits", "arch=cnn", "arch=resnet20", "epochs_done > 0", "epochs_done = 0", ""],
)
def test_every_command_that_is_suggested_can_be_run(cli: Cli, tmp_path: Path, monkeypatch, where: str):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "ncdiag.db")
    commands = {result["command"] for result in results(cli, *(["--where", where] if where else []))} - {""}
    assert len(commands) >= 6
    for command in commands:
        answer = cli(*shlex.split(command)[1:], "--dry-run")
        assert answer.code == 0, f"{command}: {answer.err}"
        assert "to train. Nothing was trained." in answer.err


def test_runs_that_cannot_be_trained_here_get_no_command_for_themselves(cli: Cli, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    strange = falling("v", depth=5, seed=0, norm=1.0)
    strange = type(strange)(name="v", config={**strange.config, "arch": "vit"}, epochs=strange.epochs, source="x")
    with open_store("ncdiag.db", write=True) as opened:
        import_runs(opened, [strange])
    assert {result["command"] for result in results(cli)} == {""}
    answer = cli("analyze", "claims")
    assert (answer.code, "ncdiag sweep" in answer.out) == (0, False)
    _, advice = " ".join(answer.out.split()).split("(runs that are there are not repeated) ")
    assert "Runs like these ncdiag cannot train itself: train more as they were, and track or import them." in advice
    assert "for 5: two networks or more on two data sets or more, three seeds in each cell." in advice
    assert {number for number in NUMBERS if f" {number}: " in advice or f" {number}, " in advice} == set(NUMBERS)


def test_beside_runs_that_can_be_trained_here_others_have_no_say_in_what_to_train(cli: Cli, store: Path):
    strange = falling("v", depth=5, seed=0, norm=1.0)
    strange = type(strange)(name="v", config={**strange.config, "arch": "vit"}, epochs=strange.epochs, source="x")
    before = [result["command"] for result in results(cli) if result["quantity"] == "claim_5"]
    with open_store(str(store), write=True) as opened:
        import_runs(opened, [strange])
    assert [result["command"] for result in results(cli) if result["quantity"] == "claim_5"] == before != [""]
    assert "cannot train itself" not in cli("analyze", "claims").out


def value(group: dict, verdict: str, reason: str, number: str = "1", ours: str = "-") -> dict:
    about = {"published": "CV < 8%", "ours": ours, "verdict": verdict, "reason": reason, "command": ""}
    return {"quantity": f"claim_{number}", "group": group, "n_conditions": 1, "blocked": [], "parts": [], **about}


def test_groups_with_one_reason_share_a_line():
    pairs = [{"arch": "mlp", "dataset": name} for name in ("mnist", "cifar10", "digits")]
    combined = value({}, "not testable", "in 2 of 3 groups, no run collapsed")
    each = [value(pair, "not testable", "no run collapsed") for pair in pairs[:2]]
    page = text_of(claims_page([combined, *each, value(pairs[2], "inconclusive", "too wide")], Terms()))
    assert "1   mlp mnist, mlp cifar10: not testable: no run collapsed." in page
    assert "      mlp digits: inconclusive: too wide." in page


def test_the_confidence_of_each_limit_is_named():
    figures = {"1": "CV 8% (< 16%)", "2": "within 9%", "4": "1.01 (0.98-1.04)", "5": "x3.3 (2.6-4.2)"}
    claims = [value({}, "inconclusive", "too wide", number=number, ours=ours) for number, ours in figures.items()]
    page = " ".join(text_of(claims_page(claims, Terms(level=0.99))).split())
    assert "(1) the CV of fn* and its upper 99% bound, or the figure that refutes one norm;" in page
    assert "from the mean, or is at least, a 99% bound;" in page
    assert "at the end, with its 98% interval;" in page  # of two one-sided tests at 1 %
    assert "ratio of ratios, with its 99% interval" in page
