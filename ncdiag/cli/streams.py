"""The streams of this process, made fit for what every command says on them."""

import io
import logging
import os
import sys
from typing import TYPE_CHECKING

from ncdiag.cli.output import note

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Heedless(io.FileIO):
    """A file that drops what cannot be written to it."""

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write, or give up in silence; the answer is always a number of bytes."""
        try:
            written = super().write(data)
        except OSError:
            written = None
        return memoryview(data).nbytes if written is None else written  # None: a pipe that is full and does not wait


class _Notes(logging.Handler):
    """Says as a note what is logged, for scripts have no other way to hear of it: that a store is waited for, say."""

    def emit(self, record: logging.LogRecord) -> None:
        note(record.getMessage())


_NOTES = _Notes()


def prepare_streams() -> None:
    """Let stdout and stderr take every character, whatever the locale, and never translate line ends.

    A terminal keeps its own encoding; files and pipes get UTF-8. What still cannot be encoded is escaped. A stream that
    the caller closed leads nowhere, and stdin is then empty. What is said on stderr only accompanies the data and the
    exit code: where its reader has left, its terminal is gone or its disk is full, it is dropped; nothing stops.
    """
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115  # lives as long as the process
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace", newline="")
    if isinstance(sys.stderr, io.TextIOWrapper) and isinstance(sys.stderr.buffer, io.BufferedWriter | io.FileIO):
        sys.stderr = _heedless(sys.stderr)
    logging.getLogger("ncdiag").addHandler(_NOTES)  # which it takes once


def _heedless(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    """Give a stream to the same place, with the same encoding, that drops what cannot be written."""
    file = _Heedless(stream.fileno(), "w", closefd=False)
    # Without a buffer, which would write a line again where Ctrl-C came just after it was written.
    return io.TextIOWrapper(file, encoding=stream.encoding, errors=stream.errors, newline="", write_through=True)
