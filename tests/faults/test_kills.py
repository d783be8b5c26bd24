"""What SIGKILL costs: nothing that could be seen before. A few kills here; `pytest -m slow -s` does hundreds."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs os.waitid")


def trials(*arguments: str) -> dict[str, Any]:
    """Run trials in a process of their own, say how many there were, and give the account."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, HERE.parents[:2]))}
    command = [sys.executable, str(HERE / "trials.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    account: dict[str, Any] = json.loads(done.stdout)
    sys.stdout.write(f"\n{done.stdout}")
    assert not account["problems"], f"{account['problems']}\n{done.stderr}"
    return account


NOTHING_LOST = {"lost": 0, "duplicated": 0, "different": 0, "unreadable": 0}


def check(account: dict[str, Any], kills: int) -> None:
    assert account | NOTHING_LOST == account
    assert account["kills"] >= kills
    assert account["acknowledged"] > 0
    assert account["finished"] > 0


def test_a_run_killed_before_any_step_to_the_disk_ends_as_if_it_had_not_been() -> None:
    check(trials("steps", "--step", "29"), kills=3)


def test_a_sweep_killed_at_random_and_typed_again_does_every_point_once() -> None:
    check(trials("sweep", "--kills", "4"), kills=4)


def test_an_upgrade_killed_at_random_is_done_or_not_done() -> None:
    check(trials("migration", "--kills", "3"), kills=3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills"), [("training", 90), ("steps", 100), ("sweep", 60), ("pool", 8), ("stops", 100), ("migration", 60)]
)
def test_hundreds_of_kills_lose_nothing(kind: str, kills: int) -> None:
    check(trials(kind, "--kills", str(kills)), kills=kills)


@pytest.mark.slow
def test_the_trials_notice_what_is_lost() -> None:
    """An ordinary script does not go on as if nothing had been, and the account says so."""
    account = trials("ordinary", "--kills", "3")
    assert account["kills"] >= 3
    assert account["different"] + account["unreadable"] > 0
