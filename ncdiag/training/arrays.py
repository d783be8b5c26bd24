"""A decoded data set before torch sees it, the hash that identifies its content, and what is asked of every one."""

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncdiag.errors import DataError, UnsafeError

MAX_BYTES = 8 << 30  # of decoded images; twice the pixels of ImageNet at 32 x 32, and what one machine still holds
_BLOCK = 1 << 24  # pixels taken at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageArrays:
    """Training and test images [N, C, H, W], uint8 or float32, with int64 labels [N] from 0 to K - 1.

    `x_train[i]` has the label `y_train[i]`, whose name is `class_names[y_train[i]]`; the test set likewise.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.class_names) < 2:
            raise DataError(
                f"the data set has one class, {self.class_names[0]!r}; at least two are needed to tell any apart"
            )

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the content: independent of file names, compression and the order in which files are listed.

        For x_train, y_train, x_test and y_test in this order: the line `NAME DTYPE SHAPE`, such as
        `x_train uint8 60000,1,28,28`, a newline, then the values in C order, little-endian.
        """
        digest = hashlib.sha256()
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array = getattr(self, name)
            digest.update(f"{name} {array.dtype.name} {','.join(map(str, array.shape))}\n".encode())
            digest.update(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).data)
        return digest.hexdigest()

    @cached_property
    def channel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation (divisor: number of pixels) of each channel over the training images.

        uint8 pixels count as fractions of 255. A channel without any variation gets the deviation 1.
        """
        blocks = math.ceil(self.x_train.size / _BLOCK)
        channels = [_pixel_statistics(np.array_split(self.x_train[:, c], blocks)) for c in range(self.x_train.shape[1])]
        return tuple(mean for mean, _ in channels), tuple(sd or 1.0 for _, sd in channels)


def _pixel_statistics(blocks: list[NDArray[Any]]) -> tuple[float, float]:
    """Give mean and standard deviation of all pixels, block by block because float64 copies of all would be large."""
    size = sum(block.size for block in blocks)
    if blocks[0].dtype == np.uint8:  # counting is exact: no order of summation to depend on
        counts = sum(np.bincount(block.ravel(), minlength=256) for block in blocks)
        values = np.arange(256) / 255
        mean = float(counts @ values) / size
        if np.count_nonzero(counts) == 1:  # else what rounding did to the mean would be taken for variation
            return mean, 0.0
        return mean, math.sqrt(counts @ (values - mean) ** 2 / size)
    mean = math.fsum(float(block.sum(dtype=np.float64)) for block in blocks) / size
    squares = math.fsum(float(((block.astype(np.float64) - mean) ** 2).sum()) for block in blocks)
    return mean, math.sqrt(squares / size)


def check_size(what: str, num_bytes: int) -> None:
    """Raise `UnsafeError` for images that would fill the memory, before any of it is taken."""
    if num_bytes > MAX_BYTES:
        raise UnsafeError(
            f"{what} claims {num_bytes / 2**30:.1f} GiB of images; at most {MAX_BYTES / 2**30:g} GiB are loaded.\n"
            "If it is meant to be that large, use smaller images or fewer of them"
        )
