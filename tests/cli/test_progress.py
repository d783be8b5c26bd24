"""What is said on stderr while runs are trained, where it is no terminal."""

import math
from pathlib import Path

import pytest
from small import small_spec

from ncdiag.cli import progress
from ncdiag.cli.progress import clock, roughly, show_progress, show_step
from ncdiag.domain.records import EpochRecord, RunStatus
from ncdiag.domain.spec import PhaseSpec
from ncdiag.execution.held import Note
from ncdiag.store.engine import open_store
from ncdiag.store.runs import add_run
from ncdiag.training.events import Ended, EpochDone


def test_a_run_has_a_line_for_its_first_epoch_for_every_ten_seconds_and_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(str(tmp_path / "ncdiag.db"), write=True) as store:
        runs = [add_run(store, small_spec(seed=seed, phases=(PhaseSpec.parse("ce:100"),)))[0] for seed in (0, 1)]
    with show_progress(points=2) as listen:
        for now, run, epoch in ((0.0, 0, 11), (9.0, 0, 12), (9.0, 1, 1), (10.0, 0, 21), (21.0, 0, 40)):
            monkeypatch.setattr(progress.time, "monotonic", lambda now=now: now)
            record = EpochRecord(epoch=epoch, train_loss=0.5, train_accuracy=0.25, nc1=math.nan)
            listen(runs[run], EpochDone(member=run, record=record))
        listen(runs[1], Note(text="the disk is full"))
        listen(runs[1], Ended(member=1, status=RunStatus.FAILED, reason="disk full\nMake room"))
        listen(runs[0], Ended(member=0, status=RunStatus.DONE, reason=None))
    figures = "loss 0.5       acc 25.0%    NC1 nan"
    assert capsys.readouterr().err.splitlines() == [
        f"run-1  epoch 11/100  {figures}",
        f"run-2  epoch 1/100  {figures}",
        f"run-1  epoch 21/100  {figures}       1:19 left",  # 79 epochs, a second each
        f"run-1  epoch 40/100  {figures}       0:43 left",  # 60 epochs, 21 seconds for 29
        "ncdiag: note: the disk is full",
        "run-2  failed: disk full  (1 of 2)",
        "run-1  done  (2 of 2)",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0:00"), (59.6, "1:00"), (3599.4, "59:59"), (3600.0, "1:00:00"), (90061.0, "25:01:01")]
)
def test_a_time_is_written_as_on_a_clock(seconds: float, said: str) -> None:
    assert clock(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (30.0, "less than a minute"),
        (31.0, "a minute"),
        (89.0, "a minute"),
        (90.0, "2 minutes"),
        (5399.0, "90 minutes"),
        (5400.0, "2 hours"),
        (129_599.0, "36 hours"),
        (129_600.0, "2 days"),
    ],
)
def test_a_time_that_is_not_known_well_is_written_in_one_unit(seconds: float, said: str) -> None:
    assert roughly(seconds) == said


def test_a_step_is_shown_on_a_terminal_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with show_step("reading") as tell:
        tell("drawing")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with show_step("reading") as tell:
        tell("drawing")
    out, err = capsys.readouterr()
    assert out == ""
    assert "drawing" in err
