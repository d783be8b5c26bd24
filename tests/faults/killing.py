"""Work in forked processes that can be killed, and what a store shows of it from outside."""

import hashlib
import itertools
import os
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401  # loaded here, forked processes have it, and are soon under way
import torch
import torch._dynamo  # what the first step of an optimiser loads

from ncdiag.execution.signals import stops_heard, stops_stored
from ncdiag.run_files import list_checkpoints
from ncdiag.store import handle
from ncdiag.training.checkpoint import load_checkpoint

torch.set_num_threads(1)  # a forked process cannot use the threads of its parent

Work = Callable[[], None]


@dataclass
class Account:
    """What came of a number of kills."""

    kills: int = 0
    acknowledged: int = 0
    lost: int = 0
    duplicated: int = 0
    different: int = 0
    unreadable: int = 0
    finished: int = 0
    problems: list[str] = field(default_factory=list)


def start(work: Work) -> int:
    """Do some work in a forked process, a group of its own, and give its process id."""
    child = os.fork()
    # in both processes, since either may be the first to need the group
    with suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(child: int) -> int:
    """Wait for a process, and give how it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def done(child: int) -> bool:
    """Tell whether a process has ended, without forgetting how."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def rows_in(store: Path) -> list[tuple[Any, ...]]:
    """Give the measurements that anybody can see in a store; a run is told by its key, the time it took left out."""
    if not store.exists():
        return []
    with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True, timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'epochs'").fetchone():
            return []
        cursor = connection.execute("SELECT r.key, e.* FROM epochs e JOIN runs r ON r.id = e.run_id ORDER BY 1, 3")
        names = [column[0] for column in cursor.description]
        left_out = {names.index("seconds"), names.index("run_id")}
        return [tuple(v for place, v in enumerate(row) if place not in left_out) for row in cursor]


def status_in(store: Path) -> str | None:
    """Give the status of the one run in a store, if it is there yet."""
    if not store.exists():
        return None
    with closing(sqlite3.connect(f"file:{store}?mode=rw", uri=True, timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone():
            return None
        return next((str(status) for (status,) in connection.execute("SELECT status FROM runs")), None)


def weights_of(store: Path) -> dict[str, str]:
    """Give the SHA-256 of the last weights of every run in a store, by the run's key."""
    with closing(sqlite3.connect(store)) as connection:
        runs = connection.execute("SELECT id, key FROM runs").fetchall()
    found = {}
    for run_id, key in runs:
        folder = Path(f"{store}.runs") / str(run_id)
        digest = hashlib.sha256()
        weights = load_checkpoint(folder, list_checkpoints(folder)[-1])["weights"]
        for name, tensor in sorted(weights.items()):
            digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
        found[key] = digest.hexdigest()
    return found


def timed(work: Work) -> float:
    """Do some work undisturbed in a process of its own, and give the seconds it took."""
    began = time.monotonic()
    if code := end(start(work)):
        raise SystemExit(f"undisturbed work ended with {code}")
    return time.monotonic() - began


def stoppable(work: Work, said: Path) -> None:
    """Do some work as the command line does, ready to be asked to stop, and keep what it says on stderr."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    with stops_heard(), stops_stored():
        try:
            work()
        except KeyboardInterrupt:
            os._exit(128 + signal.SIGINT)
        except SystemExit as stop:
            os._exit(int(str(stop.code)))


def watched(step: Callable[[], None]) -> None:
    """Call `step` before every change of the disk by Python, and before every statement for the store."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and isinstance(arguments[1], str) and arguments[1] not in ("r", "rb")
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.truncate", "sqlite3.connect"):
            step()

    connect = handle.connect_sqlite

    def traced(*arguments: Any) -> sqlite3.Connection:
        connection = connect(*arguments)
        connection.set_trace_callback(lambda statement: step())
        return connection

    handle.connect_sqlite = traced
    sys.addaudithook(hook)


def counting(work: Work, target: Path) -> None:
    """Do some work, and write down how many steps it took."""
    steps = itertools.count()
    watched(lambda: (next(steps), None)[1])
    work()
    number = next(steps)
    target.write_text(str(number))


def dying_at(number: int, work: Work) -> None:
    """Do some work up to a step."""
    steps = itertools.count()
    watched(lambda: os.kill(os.getpid(), signal.SIGKILL) if next(steps) == number else None)
    work()


def contents(store: Path) -> list[str]:
    """Give the rows, indexes and views of a store as SQL; alembic writes the constraints of a table in any order."""
    with closing(sqlite3.connect(store)) as connection:
        return sorted(line for line in connection.iterdump() if not line.startswith("CREATE TABLE"))


def revision(store: Path) -> str:
    """Give the number of a store's schema."""
    with closing(sqlite3.connect(store)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
