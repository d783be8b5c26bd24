"""Two processes with one sweep: who waits trains what the other gives up, and nothing twice."""

import signal
from pathlib import Path

import pytest
from clihelp import Cli, Start
from measured import rows_by_key
from small import SMALL_OPTIONS

from ncdiag.domain.records import RunStatus
from ncdiag.store.engine import open_store
from ncdiag.store.leases import hold_lease
from ncdiag.store.runs import list_runs

POINTS = [*SMALL_OPTIONS[:6], "--phase", "ce:600", "--seed", "0:2", "--device", "cpu", "--jobs", "1"]


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(None, marks=pytest.mark.slow),
    ],
)
def test_who_waits_trains_what_the_other_gives_up(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals | None
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = start("sweep", *POINTS)
    first.send_signal(signal.SIGSTOP)  # a process that is paused is not taken for dead
    second = start("sweep", *POINTS, "--wait", until="waiting for 2 points")
    if sent:
        first.send_signal(sent)
    first.send_signal(signal.SIGCONT)
    first.communicate(timeout=300)
    _, said = second.communicate(timeout=300)
    assert second.returncode == 0, said
    assert ("epoch " in said) == (sent is not None)  # else there was nothing left to train
    assert "left to another process" not in said
    start("sweep", *POINTS, "--store", "whole.db").communicate(timeout=300)
    found = rows_by_key(tmp_path / "ncdiag.db")
    assert [len(records) for records in found.values()] == [600, 600]
    assert found == rows_by_key(tmp_path / "whole.db")


def test_points_that_another_process_has_are_named(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["sweep", *SMALL_OPTIONS, "--seed", "0:3", "--jobs", "1", "--store", "s.db"]
    assert cli("sweep", *SMALL_OPTIONS, "--seed", "0", "--jobs", "1", "--store", "s.db").code == 0
    with open_store("s.db", write=True) as store:
        (first,) = list_runs(store)
        with hold_lease(store, first.id + 1, "somebody else"):  # as long as it is leaving, say
            answer = cli(*few)
        assert answer.code == 0
        assert "1 of 3 points left to another process, which has them; `ncdiag runs ls --store s.db`" in answer.err
        assert [run.status for run in list_runs(store)] == [RunStatus.DONE, RunStatus.PENDING, RunStatus.DONE]
