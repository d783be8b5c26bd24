"""Checkpoints: plain tensors and numbers in one file, complete or absent, that can run no code when loaded."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from ncdiag.errors import DataError, StoreError

FORMAT = 1
_NAME = re.compile(r"epoch-(\d{6,})\.pt")


def checkpoint_path(folder: Path, epoch: int) -> Path:
    """Give the file that holds the state after `epoch`."""
    return folder / f"epoch-{epoch:06d}.pt"


def list_checkpoints(folder: Path) -> list[int]:
    """Give the epochs that have a checkpoint in a folder, rising; a folder that does not exist has none."""
    if not folder.is_dir():
        return []
    matches = (_NAME.fullmatch(path.name) for path in folder.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Write the state after an epoch, complete or not at all.

    Written beside its place, flushed to the disk and renamed: a kill or a full disk at any moment leaves the earlier
    checkpoints as they were. Raises `StoreError` where it cannot be written.
    """
    path = checkpoint_path(folder, epoch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _replacing(path) as temporary:
            # torch reports a full disk as RuntimeError, not OSError
            torch.save({"format": FORMAT, **state}, temporary)
    except (OSError, RuntimeError) as error:
        raise StoreError(f"cannot write the checkpoint {path}: {error}\nThe earlier checkpoints are intact") from error
    return path


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
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


def load_checkpoint(folder: Path, epoch: int) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises `DataError` for a damaged one, or one that holds more than data."""
    path = checkpoint_path(folder, epoch)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage happens to trip over
        raise DataError(
            f"{path} is not a readable checkpoint: {error}\nRemove it to continue from an earlier one"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(f"{path} is no checkpoint of format {FORMAT}, the one this ncdiag writes")
    return state


def remove_checkpoints(folder: Path, epochs: list[int]) -> None:
    """Delete the checkpoints of these epochs. Raises `StoreError` for one that cannot be deleted."""
    for epoch in epochs:
        path = checkpoint_path(folder, epoch)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove the outdated checkpoint {path}: {error}\nRemove it by hand") from error
