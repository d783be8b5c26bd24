"""Fetching a published data set, through torchvision, whole or not at all."""

import contextlib
import http.client
import importlib.metadata
import io
import os
import shutil
import socket
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ncdiag.errors import UnavailableError
from ncdiag.training.public_files import PublicFiles

_UNFINISHED = ".download-"
TIMEOUT_S = 60.0  # without an answer; torchvision itself would wait for ever


def download(files: PublicFiles, data_dir: Path) -> None:
    """Put the published files into the data folder, with a progress bar if stderr is a terminal.

    They are fetched into a folder beside, checked there, and moved into place one by one: an interruption leaves whole
    files or none. Of several processes one fetches, and the others wait for it. Raises `UnavailableError` with the
    place for files fetched by hand.
    """
    datasets = _import_torchvision(files, data_dir)
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with _alone_in(data_dir):
            if files.missing(data_dir):
                _fetch(datasets, files, data_dir)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException, tarfile.TarError) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UnavailableError(_by_hand(files, data_dir, f"could not be fetched ({reason})")) from error


@contextlib.contextmanager
def _alone_in(data_dir: Path) -> Iterator[None]:
    """Wait for other processes that fetch into the folder, and remove what killed ones left there."""
    import fcntl  # which Windows lacks, where a network of one's own can still be measured

    folder = os.open(data_dir, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a network file system may know no locks: everybody then fetches
            fcntl.flock(folder, fcntl.LOCK_EX)
            for left in data_dir.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(left)
        yield
    finally:
        os.close(folder)


def _fetch(datasets: Any, files: PublicFiles, data_dir: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=data_dir) as temporary, _quiet_off_terminal():
        getattr(datasets, files.torchvision_class)(temporary, download=True)  # checks the MD5 of what it fetched
        (data_dir / files.folder).mkdir(parents=True, exist_ok=True)
        for name in files.md5:
            os.replace(Path(temporary, files.folder, name), data_dir / files.folder / name)


def _import_torchvision(files: PublicFiles, data_dir: Path) -> Any:
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        # Built for another torch, torchvision fails in many ways, often with a RuntimeError on torchvision::nms.
        reason = (
            f"torchvision {_version('torchvision')}, which would fetch it, does not load beside torch "
            f"{_version('torch')}: {str(error).splitlines()[0]}"
        )
        raise UnavailableError(_by_hand(files, data_dir, reason)) from error
    return datasets


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _by_hand(files: PublicFiles, data_dir: Path, reason: str) -> str:
    return (
        f"{files.torchvision_class} is not in {data_dir}: {reason}.\n"
        f"To go on, put {', '.join(files.missing(data_dir))}\n"
        f"(gzipped or not) into {data_dir / files.folder}, or use --data-dir DIR, or --dataset digits"
    )


@contextlib.contextmanager
def _quiet_off_terminal() -> Iterator[None]:
    """Send what torchvision prints to stderr if somebody watches, else nowhere; bound the wait for an answer."""
    sink = sys.stderr if sys.stderr.isatty() else io.StringIO()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        socket.setdefaulttimeout(before)
