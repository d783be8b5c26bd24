import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ncdiag.domain.records import EPOCH_COLUMNS, EpochRecord, Run
from ncdiag.domain.spec import DataSpec, NetworkSpec, OptimizerSpec, PhaseSpec, RunSpec
from ncdiag.store.engine import Store, open_store
from ncdiag.store.leases import hold_lease, new_owner
from ncdiag.store.runs import add_run, claim_run

MakeSpec = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def make_spec() -> MakeSpec:
    def make(*, seed: int = 0, weight_decay: float = 1e-4, width: int = 32) -> RunSpec:
        return RunSpec(
            network=NetworkSpec(arch="mlp", depth=3, width=width),
            data=DataSpec(dataset="digits"),
            phases=(PhaseSpec(loss="ce", epochs=20), PhaseSpec(loss="mse", epochs=40)),
            optimizer=OptimizerSpec(name="adam", lr=1e-3, weight_decay=weight_decay),
            batch_size=32,
            seed=seed,
        )

    return make


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder, in memory where that is possible: hundreds of commits would otherwise wait for the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


@pytest.fixture
def url(folder: Path) -> str:
    return str(folder / "ncdiag.db")


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with open_store(url, write=True) as opened:
        yield opened


@pytest.fixture
def owner() -> str:
    return new_owner()


@pytest.fixture
def running(store: Store, make_spec: MakeSpec, owner: str) -> Iterator[Run]:
    """A run that `owner`, this process, trains."""
    run, _ = add_run(store, make_spec())
    with hold_lease(store, run.id, owner) as held:
        assert held
        assert claim_run(store, run.id, owner=owner, device="cpu", environment={})
        yield run


@pytest.fixture
def start_python() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `python -c code args...` with pipes for input and output; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *args: object) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


HOT_JOURNAL = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("UPDATE runs SET name = 'torn' || id")
for number in range(1000, 1200):
    connection.execute("INSERT INTO sweeps VALUES (?, ?, ?, hex(randomblob(3000)), '')", (number, number, number))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def kill_a_writer(start_python: Callable[..., "subprocess.Popen[str]"]) -> Callable[[object], None]:
    """Kill a process in the middle of a write to a store: half of it is there, with the journal to undo it."""

    def kill(url: object) -> None:
        start_python(HOT_JOURNAL, url).wait()
        assert Path(f"{url}-journal").stat().st_size > 0
        assert Path(str(url)).stat().st_size > 100 * 4096  # it has written into the store, not only beside it

    return kill


@pytest.fixture(scope="session")
def record() -> Callable[..., EpochRecord]:
    """Make the record of an epoch that has every value, each of its own."""

    def make(epoch: int, **changes: object) -> EpochRecord:
        numbers = {name: epoch + number / 7 for number, name in enumerate(EPOCH_COLUMNS)}
        return EpochRecord(**{**numbers, "epoch": epoch, "phase": 1, "loss": "ce", "seconds": 0.5, **changes})

    return make


AT_ONCE = """
import logging, os, sys, traceback
import alembic.command
from sqlalchemy import text
from ncdiag.store import migrate, schema
from ncdiag.store.engine import open_store
logging.getLogger("ncdiag").setLevel(logging.ERROR)  # it may be said that a store is waited for
gate, opener = os.pipe()
children = []
for _ in range(int(sys.argv[2])):
    if child := os.fork():
        children.append(child)
        continue
    try:
        os.close(opener)
        os.read(gate, 1)
{code}
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
os.close(opener)
print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


@pytest.fixture
def at_once(start_python: Callable[..., "subprocess.Popen[str]"]) -> Callable[[int, str, str], list[int]]:
    """Run code in many processes that begin at the same moment, `sys.argv[1]` being the store; give exit codes."""

    def run(processes: int, code: str, url: str) -> list[int]:
        said, problems = start_python(AT_ONCE.format(code=textwrap.indent(code, " " * 8)), url, processes).communicate()
        assert problems == ""
        return [int(code) for code in said.split()]

    return run
