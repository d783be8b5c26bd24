"""Checkpoints: plain tensors and numbers in one file, complete or absent, that can run no code when loaded."""

import errno
import zipfile
from pathlib import Path
from shutil import disk_usage
from typing import Any

import torch

from ncdiag.errors import DataError, StoreError
from ncdiag.run_files import checkpoint_path, replacing
from ncdiag.training.out_of_memory import is_out_of_memory

FORMAT = 2  # of format 1 were the moments of an MLP transposed


class DamagedCheckpointError(DataError):
    """A checkpoint that cannot be read, or that holds more than data; an earlier one may do."""


def save_checkpoint(folder: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Write the state after an epoch, complete or not at all.

    A kill or a full disk at any moment leaves the earlier checkpoints as they were. Raises `StoreError` where it cannot
    be written.
    """
    path = checkpoint_path(folder, epoch)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            # torch reports a full disk as RuntimeError, not OSError
            torch.save({"format": FORMAT, **state}, temporary)
    except (OSError, RuntimeError) as error:
        raise StoreError(_unwritable(path, state, error)) from error
    return path


def _unwritable(path: Path, state: dict[str, Any], error: Exception) -> str:
    free, size = disk_usage(path.parent).free if path.parent.is_dir() else 0, _size(state)
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)
    full |= isinstance(error, RuntimeError) and free < 2 * size  # torch says nothing but where the file broke off
    return (
        f"cannot write the checkpoint {path}: {'disk full' if full else _first_line(error)}.\n"
        f"It takes {_megabytes(size)} MB, and {_megabytes(free)} MB are free there (a quota may be less).\n"
        "The earlier checkpoints and the stored epochs are intact. Make room, then repeat the command"
    )


def _megabytes(number: int) -> str:
    return f"{number / 1e6:.1f}" if number >= 1e5 else f"{number / 1e6:.2g}"


def _size(value: Any) -> int:
    """Give the bytes of all tensors in a state."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, (list, tuple)) else 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def load_checkpoint(folder: Path, epoch: int) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; nothing in it is executed.

    Raises `DamagedCheckpointError` for one that is damaged or holds more than data, `DataError` for another format.
    """
    path = checkpoint_path(folder, epoch)
    try:
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the damage happens to trip over
        if is_out_of_memory(error):  # the file may be as good as ever
            raise
        raise DamagedCheckpointError(f"{path} is not a readable checkpoint: {_first_line(error)}") from error
    if not isinstance(state, dict) or "format" not in state:
        raise DamagedCheckpointError(f"{path} is no checkpoint of a run")
    if state["format"] != FORMAT:
        raise DataError(
            f"{path} is a checkpoint of format {state['format']}; this ncdiag reads {FORMAT}. Update ncdiag, "
            "or remove the file to train that part again"
        )
    return state


def _check_archive(path: Path) -> None:
    """Raise for a file whose content is not what was written: torch itself does not look at the checksums it writes."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError("it holds compressed parts, which may be of any size")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"{damaged} fails its checksum")


def set_aside(folder: Path, epoch: int) -> Path:
    """Rename a checkpoint that cannot be used, so that it is kept but no longer found; gives its new path."""
    path = checkpoint_path(folder, epoch)
    try:
        return path.replace(path.with_name(f"{path.name}.damaged"))
    except OSError as error:
        raise StoreError(f"cannot rename the damaged checkpoint {path}: {error}\nRename it by hand") from error


def remove_checkpoints(folder: Path, epochs: list[int]) -> None:
    """Delete the checkpoints of these epochs. Raises `StoreError` for one that cannot be deleted."""
    for epoch in epochs:
        path = checkpoint_path(folder, epoch)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot remove the outdated checkpoint {path}: {error}\nRemove it by hand") from error
