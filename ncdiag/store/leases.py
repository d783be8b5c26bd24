"""Who trains a run, and whether it still does.

The process that trains a run holds an operating-system lock on `lock` in the run's folder, and its owner token is
written in that file. The kernel drops the lock when the process ends, however it ends, so on the same host a dead
owner is seen at once and a slow or stopped one is never taken for dead, whatever the clocks say. A child that it forks,
such as a worker of a DataLoader, lets go of the lock, which it would keep for as long as it outlives its parent. On
another host, or with a store that is not a file, the heartbeat decides, by the clock of the database.

A lock says who is alive; it does not keep a process that lost its run from writing. `fence` does, inside the
transaction of the write.
"""

import os
import platform
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TextIO

from sqlalchemy import Connection, update

from ncdiag.errors import StoreError, UnavailableError
from ncdiag.store import schema
from ncdiag.store.faults import TakenOverError
from ncdiag.store.handle import Store

try:
    import fcntl
except ImportError as error:
    raise UnavailableError(
        f"ncdiag runs on Linux and macOS, whose file locks tell it which runs are being trained; this is "
        f"{platform.system()}.\nOn Windows, use it inside WSL (wsl --install)"
    ) from error

# Four missed heartbeats of 30 s: a pause that long on a shared machine is rare, and costs a fenced-off process only.
SILENCE = timedelta(seconds=120)

_locked: set[TextIO] = set()  # the files whose locks this process has


def _let_go() -> None:
    for file in _locked:
        file.close()


os.register_at_fork(after_in_child=_let_go)


def this_host() -> str:
    """Give the name of this machine, as the store records it."""
    return platform.node()


def new_owner() -> str:
    """Give a token that no other process, now or later, will have; readable, for whoever looks into the store."""
    return f"{this_host()}:{os.getpid()}:{uuid.uuid4().hex}"


@contextmanager
def hold_lease(store: Store, run_id: int, owner: str) -> Iterator[bool]:
    """Hold the lock of a run while the block lasts; gives False, and holds nothing, when another process has it.

    Claim and train a run only inside this block: a run that is `running` while nobody holds its lock is lost.
    """
    with ExitStack() as stack:
        try:
            folder = store.run_folder(run_id)
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / "lock").open("a+", encoding="utf-8"))
            held = _lock(file)
            if held:
                _locked.add(file)
                stack.callback(_locked.discard, file)
                file.truncate(0)
                file.write(owner)
                file.flush()
        except OSError as error:
            raise StoreError(
                f"the lock of run {run_id} cannot be taken: {error}.\nCheck the folder {store.run_folder(run_id)}"
            ) from error
        yield held


def _lock(file: TextIO) -> bool:
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.01)  # somebody who lists the runs holds it for microseconds; a trainer keeps it
        else:
            return True
    return False


def is_lost(
    store: Store, run_id: int, *, owner: str, host: str | None, heartbeat_at: datetime | None, clock: datetime
) -> bool:
    """Tell whether nobody trains a run any more that the store has as `running` by `owner`.

    `clock` is the time of the database, to which `heartbeat_at` is compared where no lock can tell.
    """
    if store.path is not None and host == this_host():
        try:
            return _find_holder(store.run_folder(run_id)) != owner
        except OSError:
            pass  # a file system without locks, or another user's folder
    return heartbeat_at is None or clock - heartbeat_at > SILENCE


def _find_holder(folder: Path) -> str | None:
    try:
        with (folder / "lock").open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read()
    except FileNotFoundError:
        pass
    return None


def beat(connection: Connection, run_ids: Sequence[int], owner: str) -> int:
    """Note, inside a write, that `owner` is alive, with those of the runs that are its own; gives how many they are."""
    runs = schema.runs
    owned = runs.c.id.in_(run_ids) & (runs.c.owner == owner) & (runs.c.status == "running")
    return connection.execute(update(runs).where(owned).values(heartbeat_at=schema.UtcNow())).rowcount


def fence(connection: Connection, run_id: int, owner: str) -> None:
    """Make sure, inside a write, that `owner` has the run, and keep it so until the commit; it counts as a heartbeat.

    Raises `TakenOverError` when another process has taken the run, or it was finished or removed.
    """
    if beat(connection, [run_id], owner) != 1:
        raise taken_over(run_id)


def taken_over(run_id: int) -> TakenOverError:
    """Give the error for a run that this process took for its own."""
    return TakenOverError(
        f"run {run_id} is no longer trained by this process: another one took it over, or it was removed.\n"
        "Nothing more of it is stored from here; `ncdiag runs ls` shows where it stands"
    )
