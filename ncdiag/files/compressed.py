"""Files that may be compressed, as `ncdiag export -o epochs.csv.gz` writes them."""

import gzip
import zlib
from pathlib import Path

from ncdiag.errors import DataError

ENDING = ".gz"
LARGEST = 4 * 2**30  # bytes unpacked: some ten million epochs; a small file can unpack to any size


def read_whole(path: Path, *, largest: int = LARGEST) -> bytes:
    """Give the content of a file, unpacked if its name ends in .gz.

    Raises `OSError` for a file that cannot be read, `DataError` for one that is no gzip file or unpacks to too much.
    """
    if path.suffix != ENDING:
        return path.read_bytes()
    try:
        with gzip.open(path) as packed:
            content = packed.read(largest + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path.name} is called {ENDING} and is no whole gzip file: {error}") from None
    if len(content) > largest:
        raise DataError(f"{path.name} unpacks to more than {largest:,} bytes; expected epochs of runs. Split it")
    return content


def pack(content: bytes) -> bytes:
    """Compress a file; the same content gives the same bytes."""
    return gzip.compress(content, mtime=0)


def bare_name(name: str) -> str:
    """Give the name of a file without the ending of its compression."""
    return name.removesuffix(ENDING)
