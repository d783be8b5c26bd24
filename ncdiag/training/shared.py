"""A data set that several processes train on, in memory once.

One process writes its tensors to files, the others map these files: the pages are shared as long as nobody writes to
them, and nobody does. Files need no shared-memory mount, which containers often limit to 64 MB.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncdiag.training.datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class SharedDataset:
    """Where the tensors of a data set lie, and the rest of it; small enough to be sent to another process."""

    folder: Path
    tensors: tuple[str, ...]
    rest: dict[str, Any]

    def open(self) -> Dataset:
        """Give the data set on the CPU, without reading it."""
        # "c" maps privately: torch wants memory that may be written to, and a write would copy its page
        tensors: dict[str, Any] = {}
        for name in self.tensors:
            array = np.load(self.folder / f"{name}.npy", mmap_mode="c", allow_pickle=False)
            tensors[name] = torch.from_numpy(array)
        return Dataset(**self.rest, **tensors)


def share(data: Dataset, folder: Path) -> SharedDataset:
    """Write a data set, from the CPU, into a folder, which must stay as long as the data set is used."""
    folder.mkdir(parents=True)
    values = vars(data)
    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    for name, tensor in tensors.items():
        np.save(folder / f"{name}.npy", tensor.numpy())
    rest = {name: value for name, value in values.items() if name not in tensors}
    return SharedDataset(folder=folder, tensors=tuple(tensors), rest=rest)
