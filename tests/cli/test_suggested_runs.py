"""The commands that `analyze claims` prints keep their promise: with their runs, every claim can be tested."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from clihelp import Cli
from imagined import train_none

Follow = Callable[[str, str], dict[str, dict]]
NUMBERS = [f"claim_{number}" for number in ("1", "2", "3", "4", "5", "6a", "6b", "6c", "6d")]


def claims_by_number(cli: Cli) -> dict[str, dict]:
    """Give the first result of each claim, which speaks for all of its groups."""
    answer = cli("analyze", "claims", "--format", "json")
    assert answer.code == 0, answer.err
    found: dict[str, dict] = {}
    for result in json.loads(answer.out)["results"]:
        found.setdefault(result["quantity"], result)
    return found


@pytest.fixture
def commands(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Follow:
    """Begin with the runs of a sweep, add those of the commands for some claims, and give the claims then."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ncdiag.execution.local.train_all", train_none)
    monkeypatch.setattr("ncdiag.execution.planning.check_plan", lambda *_: None)  # it would load all data sets
    monkeypatch.setattr("ncdiag.cli.sweep._say_how_long", lambda *_: None)

    def follow(start: str, numbers: str) -> dict[str, dict]:
        assert cli("sweep", *shlex.split(start)).code == 0
        asked = [result for number, result in claims_by_number(cli).items() if number in numbers.split()]
        assert {result["verdict"] for result in asked} == {"not testable"}
        for command in dict.fromkeys(r[name] for r in asked for name in ("command", "second_command") if r.get(name)):
            answer = cli(*shlex.split(command)[1:])
            assert answer.code == 0, f"{command}: {answer.err}"
        return claims_by_number(cli)

    return follow


def untestable(claims: dict[str, dict]) -> dict[str, str]:
    return {number: result["reason"] for number, result in claims.items() if result["verdict"] == "not testable"}


def test_a_claim_can_be_tested_with_the_runs_of_its_own_commands(commands: Follow) -> None:
    after = commands("--arch mlp --dataset digits --phase ce:20 --phase mse:80 --seed 3", "claim_1")
    assert untestable(after).keys().isdisjoint({"claim_1", "claim_2"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "start",
    [
        "--arch mlp --dataset digits --phase ce:20 --phase mse:80 --seed 3",
        "--arch cnn --dataset digits --phase mse:60 --seed 0:3",
        "--arch mlp --dataset digits --phase ce:60 --stop-at-onset --seed 0",
    ],
)
def test_with_the_runs_of_all_commands_every_claim_can_be_tested(commands: Follow, start: str) -> None:
    assert untestable(commands(start, " ".join(NUMBERS))) == {}
