"""A data set that several processes train on, in memory once.

One process writes its tensors to a file that has no name, and hands the open file to the others, which map it: the
pages are shared as long as nobody writes to them, and nobody does. A file needs no shared-memory mount, which
containers often limit to 64 MB; one without a name is freed by the system with the last process that has it, however
that ends.
"""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import IO, Any

import numpy as np
import torch

from ncdiag.training.datasets import Dataset

_ALIGNMENT = 64  # bytes; torch's own tensors begin so


@dataclass(frozen=True, kw_only=True)
class _Place:
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass(frozen=True, kw_only=True)
class SharedDataset:
    """Where the tensors of a data set lie in the open file `fd`, and the rest of it.

    Small enough to be sent to another process, as an argument of `multiprocessing.Process`: it gets the file too.
    """

    fd: int
    places: dict[str, _Place]
    rest: dict[str, Any]

    def open(self) -> Dataset:
        """Give the data set on the CPU, without reading it."""
        # a private mapping: torch wants memory that may be written to, and a write would copy its page
        memory = mmap.mmap(self.fd, 0, access=mmap.ACCESS_COPY)
        tensors: dict[str, Any] = {}
        for name, place in self.places.items():
            flat = np.frombuffer(memory, place.dtype, count=int(np.prod(place.shape)), offset=place.offset)
            tensors[name] = torch.from_numpy(flat.reshape(place.shape))
        return Dataset(**self.rest, **tensors)

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.fd), self.places, self.rest)


def _received(file: Any, places: dict[str, _Place], rest: dict[str, Any]) -> SharedDataset:
    return SharedDataset(fd=file.detach(), places=places, rest=rest)


@contextmanager
def share(data: Dataset) -> Iterator[SharedDataset]:
    """Write a data set, from the CPU, to where other processes can map it while the block lasts.

    Raises `OSError` where the folder for temporary files has no room.
    """
    with tempfile.TemporaryFile(prefix="ncdiag-") as file:
        shared = _written(data, file)
        del data  # the file has it now, and this frame lasts as long as the block
        yield shared


def _written(data: Dataset, file: IO[bytes]) -> SharedDataset:
    values = vars(data)
    tensors = {name: value.numpy() for name, value in values.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in values.items() if name not in tensors}
    places: dict[str, _Place] = {}
    for name, array in tensors.items():
        file.seek(-file.tell() % _ALIGNMENT, os.SEEK_CUR)
        places[name] = _Place(offset=file.tell(), shape=array.shape, dtype=array.dtype)
        file.write(np.ascontiguousarray(array).data)
    file.flush()
    return SharedDataset(fd=file.fileno(), places=places, rest=rest)
