"""The files in the folder of a run: what its checkpoints are called, and how a file comes there whole or not at all.

Training writes them, and the store takes them over from another store; both do it by this, while they hold the lock of
the run.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = re.compile(r"epoch-(\d{6,})\.pt")
_UNFINISHED = ".*.tmp"


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Give the file that holds the state after `epoch`."""
    return folder / f"epoch-{epoch:06d}.pt"


def list_checkpoints(folder: Path) -> list[int]:
    """Give the epochs that have a checkpoint in a folder, rising; a folder that does not exist has none."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a file to write beside a path, which takes its place at the end of the block, on the disk by then.

    A kill or a full disk at any moment, or an exception in the block, leaves at the path what was there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Delete what processes that were killed had begun to write; no other process may be writing here."""
    for path in folder.glob(_UNFINISHED):
        path.unlink(missing_ok=True)
