"""Writing what a command made: to stdout, or to a file that is there in full or not at all."""

import csv
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ncdiag.cli.output import csv_cell
from ncdiag.errors import SpecError, StoreError, UnsafeError
from ncdiag.files.magic import LONGEST, looks_like_database
from ncdiag.store.shielding import shielded

_STDOUT = 1
_NAMED = {"-": _STDOUT, "/dev/stdout": _STDOUT, "/dev/stderr": 2}
# What else stands for an open file, such as the pipe that a shell makes of >(gzip > x.gz). It is written to as it is:
# opened again by its name, a file that the shell opened with >> would lose what it had.
_OPEN = re.compile(r"/(?:dev|proc/self)/fd/([0-9]{1,9})")
# What a spreadsheet takes for a formula, at the start of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
# What the csv module writes as `csv_cell` does, without a call for each of the cells of a million rows.
_AS_IT_IS = {float, int, str, type(None)}


def to_stdout(target: str) -> bool:
    """Tell whether what is written there goes to stdout."""
    return _find_descriptor(target) == _STDOUT


def check_output(target: str) -> None:
    """Find out whether `write_output` could write here, before anything is computed that would be lost.

    Raises `SpecError` where the target cannot be a file, `UnsafeError` where it is a database, which holds runs, and
    `StoreError` where the system refuses.
    """
    if not target:
        raise SpecError("the name of the file to write is empty; give one, or - for stdout")
    if (descriptor := _find_descriptor(target)) is not None:
        if descriptor != _STDOUT and not os.path.exists(descriptor):
            raise _refused(target, os.strerror(errno.EBADF))
        return
    path = Path(os.path.realpath(target))
    if path.is_symlink():
        raise SpecError(f"{target} is a link that leads in a circle; remove it, or choose another file")
    if path.is_dir():
        raise SpecError(f"{target} is a folder; expected the name of a file")
    if not path.parent.is_dir():
        raise SpecError(f"the folder {path.parent} does not exist; make it first, or choose another file")
    if _is_special(target):
        return
    if _is_database(path):  # a store, most likely, whose name was typed after -o instead of --store
        raise UnsafeError(f"{target} is a database, a store perhaps, and is not overwritten. Choose another file")
    if not os.access(path.parent, os.W_OK):
        raise _refused(target, os.strerror(errno.EACCES))


def write_output(content: bytes, target: str) -> None:
    """Write to a file, or to stdout where the target is `-`; a file keeps what it had until all is written.

    A file that is replaced keeps its mode. Raises what `check_output` does.
    """
    check_output(target)
    if to_stdout(target):
        sys.stdout.flush()
        rest = memoryview(content)
        while rest:  # with PYTHONUNBUFFERED a write may take only a part
            rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
        return
    descriptor = _find_descriptor(target)
    if descriptor is not None or _is_special(target):
        _write_through(content, target, descriptor)
        return
    path = Path(os.path.realpath(target))
    # A name has at most 255 bytes, and a character up to 4 of them.
    unfinished = path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")
    with shielded():
        try:
            if path.exists():  # who may not read it may not read what takes its place, from the first byte on
                unfinished.touch(mode=0o600)
            unfinished.write_bytes(content)
            with suppress(FileNotFoundError, PermissionError):  # nothing to replace, or a file system without modes
                shutil.copymode(path, unfinished)
            unfinished.replace(path)
        except OSError as error:
            raise _refused(target, error.strerror) from None
        finally:
            with suppress(OSError):
                unfinished.unlink()


def _find_descriptor(target: str) -> int | None:
    found = _OPEN.fullmatch(target)
    return int(found[1]) if found else _NAMED.get(target)


def _is_special(target: str) -> bool:
    """Tell whether a pipe or a device is there, which nothing may take the place of."""
    return os.path.exists(target) and not os.path.isfile(target)


def _write_through(content: bytes, target: str, descriptor: int | None) -> None:
    try:
        with open(target if descriptor is None else descriptor, "wb", closefd=descriptor is None) as file:
            file.write(content)
    except BrokenPipeError:  # its reader has left, as that of stdout may
        raise
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written, or not to its end ({error.strerror}).\n"
            "Check what is behind it, or choose another file"
        ) from None


def _refused(target: str, reason: str | None) -> StoreError:
    return StoreError(
        f"{target} cannot be written ({reason}); nothing was changed.\n"
        "Check free space and permissions, or choose another file"
    )


def find_ending(name: str) -> str:
    """Give what the name of a file ends in, such as `.csv`, in small letters."""
    return Path(name).suffix.lower()


def check_ending(target: str, known: Sequence[str], expected: str) -> None:
    """Raise `SpecError`, with what was `expected`, for a name that promises another format; none promises nothing."""
    ending = find_ending(target)
    if ending and ending not in known:
        raise SpecError(f"{target} ends in {ending}; {expected}. Choose another name")


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return looks_like_database(file.read(LONGEST))
    except FileNotFoundError:
        return False


def csv_text(tables: Iterable[Mapping[str, Sequence[Any]]], header: Sequence[str], *, excel_safe: bool = False) -> str:
    """Give tables of columns, one below the other, as RFC 4180 CSV.

    `excel_safe` puts an apostrophe before texts that would run as formulas.
    """
    text = io.StringIO()
    writer = csv.writer(text)  # RFC 4180: CRLF, quotes where they are needed
    writer.writerow(header)
    for columns in tables:
        writer.writerows(zip(*(_csv_column(columns[key], excel_safe) for key in header), strict=True))
    return text.getvalue()


def _csv_column(values: Sequence[Any], excel_safe: bool) -> list[Any]:
    cells = [value if type(value) in _AS_IT_IS else csv_cell(value) for value in values]
    if not excel_safe:
        return cells
    texts = (isinstance(value, str) and value.startswith(_FORMULA) for value in values)
    return [f"'{cell}" if runs else cell for cell, runs in zip(cells, texts, strict=True)]
