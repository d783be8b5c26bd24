import io
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clihelp import PYTHON, ROOT, Cli
from falling import make_falling_store
from recorded import append
from rich.console import Console

from ncdiag.cli.watch import _fitted, _Row
from ncdiag.domain.records import EpochRecord
from ncdiag.domain.spec import DataSpec, NetworkSpec, OptimizerSpec, PhaseSpec, RunSpec
from ncdiag.store.engine import Store, open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import add_run, claim_run, finish_run

SPEC = RunSpec(
    network=NetworkSpec(arch="mlp", depth=3, width=32),
    data=DataSpec(dataset="digits"),
    phases=(PhaseSpec(loss="ce", epochs=200),),
    optimizer=OptimizerSpec(name="adam", lr=1e-3, weight_decay=1e-4),
    batch_size=32,
    seed=0,
)


class Training:
    """A run that this process trains, or seems to: an epoch takes two seconds."""

    def __init__(self, store: Store) -> None:
        self.store, self.owner = store, new_owner()
        self.run, _ = add_run(store, SPEC, name="mine")

    def epoch(self, number: int) -> None:
        values = {"feature_norm": 50.0 / number, "nc1": 1.0 / number, "seconds": 2.0}
        append(self.store, self.run, EpochRecord(epoch=number, **values), owner=self.owner)

    def finish(self) -> None:
        finish_run(self.store, self.run.id, owner=self.owner, status="done")


@pytest.fixture
def training(here: Path) -> Iterator[Training]:
    make_falling_store(here / "ncdiag.db")
    with open_store("ncdiag.db", write=True) as store:
        made = Training(store)
        with hold_lease(store, made.run.id, made.owner):
            claim_run(store, made.run.id, owner=made.owner, device="cpu", environment={})
            yield made


def test_once_prints_a_line_for_each_run_that_is_trained(training: Training, cli: Cli) -> None:
    for number in range(1, 51):
        training.epoch(number)
    answer = cli("watch", "--once")
    assert (answer.code, answer.err) == (0, "")
    # 150 epochs of two seconds are left; the other runs of the pair collapsed at epoch 92
    assert re.fullmatch(
        r"mine  running  epoch 50/200  fn 1  NC1 0\.02  5:00 left  onset: epoch \d+( \(\d+ to \d+\))?\n", answer.out
    )


def test_a_first_run_is_shown_with_what_its_own_course_says(training: Training, cli: Cli) -> None:
    for run in ("deep-0", "deep-1", "shallow-0", "shallow-1", "short"):
        assert cli("runs", "rm", run, "--yes").code == 0
    for number in range(1, 21):
        training.epoch(number)
    epochs = np.arange(16, 21)  # the last five, whose trend is extrapolated
    slope, start = np.polyfit(epochs, np.log(1 / epochs), 1)
    reached = (np.log(0.01) - start) / slope
    assert cli("watch", "--once").out.endswith(f"  onset: after epoch {reached:.0f}?\n")


def test_a_run_without_an_epoch_is_shown_as_far_as_it_is_known(training: Training, cli: Cli) -> None:
    assert cli("watch", "--once").out == "mine  running  epoch 0/200  fn -  NC1 -\n"


def test_a_run_can_be_named_whether_or_not_it_is_trained(training: Training, cli: Cli) -> None:
    answer = cli("watch", "deep-0")
    assert answer.out == "deep-0  done  epoch 120  fn 1.1  NC1 0.002479  onset: collapsed at 92\n"
    assert cli("watch", "deep-9").code == 4
    training.epoch(1)
    training.finish()  # earlier than planned, and no time is left
    assert cli("watch", "mine").out.startswith("mine  done  epoch 1/200  fn 50  NC1 1  onset: ")


def test_where_nothing_is_trained_it_says_so_and_ends(training: Training, cli: Cli) -> None:
    training.finish()
    answer = cli("watch")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "ncdiag: note: nothing is being trained in ncdiag.db\n"


def start(*options: str, **pipes: int) -> "subprocess.Popen[bytes]":
    command = [PYTHON, "-m", "ncdiag", "watch", "--every", "0.1", *options]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}, **pipes
    )


def shown_in(columns: int) -> str:
    """Give what a terminal of this width shows of a run whose forecast is long."""
    row = _Row(
        name="run-12", status="running", running=True, epochs="25/1510", left="16:11",
        norm=[20.0, 1.842], nc1=[1.0, 0.03012], forecast="epoch 80 (59 to 104)",
    )  # fmt: skip
    console = Console(width=columns, file=io.StringIO())
    console.print(_fitted([row], console))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_narrow_terminal_leaves_out_columns_and_cuts_no_number() -> None:
    told = ("run-12", "25/1510", "1.842", "0.03012", "epoch 80 (59 to 104)")
    assert all(part in shown_in(100) for part in (*told, "running", "16:11"))
    assert all(part in shown_in(80) for part in (*told, "running", "16:11"))
    narrow = shown_in(66)
    assert all(part in narrow for part in told)
    assert "running" not in narrow
    lines = " ".join(shown_in(30).split())
    assert "run-12 running epoch 25/1510" in lines
    assert "epoch 80 (59 to 104)" in lines
    for width in (100, 80, 66, 30):
        assert "…" not in shown_in(width)
        assert max(map(len, shown_in(width).splitlines())) <= width


@pytest.mark.slow
def test_lines_follow_a_run_to_its_end(training: Training) -> None:
    training.epoch(1)
    process = start(stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"mine  running  epoch 1/200")
    training.epoch(2)
    while b"epoch 2/200" not in (line := process.stdout.readline()):
        assert line
    training.finish()
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"\x1b" not in rest
    assert rest.splitlines()[-1].startswith(b"mine  done  epoch 2/200")


@pytest.mark.slow
def test_a_terminal_shows_the_curves_in_their_place(training: Training) -> None:
    for number in range(1, 41):
        training.epoch(number)
    parent, child = pty.openpty()
    process = start(stdout=child, stderr=child)
    os.close(child)
    shown = b""
    while "█".encode() not in shown:
        shown += os.read(parent, 4096)
    training.finish()
    try:
        while more := os.read(parent, 4096):
            shown += more
    except OSError:  # how a pseudo-terminal ends
        pass
    os.close(parent)
    assert process.wait(30) == 0
    text = shown.decode()
    assert "40/200" in text
    # fn and NC1 both fall as 1 / epoch, so both fall from the highest bar to the lowest
    assert len(re.findall(r"█[▁-█ ]*▁", text)) >= 2
    assert "mine  done" in text
