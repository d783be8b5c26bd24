"""A data set in one FILE.npz with x_train, y_train, x_test and y_test."""

import lzma
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ncdiag.errors import DataError
from ncdiag.training.arrays import ImageArrays, check_size

NAMES = ("x_train", "y_train", "x_test", "y_test")
# What zipfile and numpy raise on a file that is cut, altered, encrypted or not what its name says.
_BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError)


def read_array_file(path: Path) -> ImageArrays:
    """Read images [N, H, W], [N, C, H, W] or vectors [N, D], uint8 or float, and labels [N] from 0 to K - 1.

    A vector becomes an image of one row, [1, 1, D]; floats are kept as float32, on their own scale. Nothing is
    unpickled. Raises `DataError` naming array, place and value, or `UnsafeError` if the arrays claim too much memory.
    """
    arrays = _load(path)
    x_train, x_test = (_images(name, arrays[name]) for name in ("x_train", "x_test"))
    if x_train.shape[1:] != x_test.shape[1:] or x_train.dtype != x_test.dtype:
        raise DataError(
            f"x_train holds {x_train.dtype} images of shape {x_train.shape[1:]}, "
            f"x_test {x_test.dtype} of {x_test.shape[1:]}; they must agree"
        )
    y_train = _labels("y_train", arrays["y_train"], len(x_train))
    y_test = _labels("y_test", arrays["y_test"], len(x_test))
    num_classes = _count_classes(y_train)
    if y_test.max() >= num_classes:
        place = int(y_test.argmax())
        raise DataError(f"y_test[{place}] is {y_test[place]}, but the labels of y_train end at {num_classes - 1}")
    return ImageArrays(
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=tuple(str(c) for c in range(num_classes)),
    )


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            present = [name.removesuffix(".npy") for name in archive.namelist()]
            missing = [name for name in NAMES if name not in present]
            if missing:
                raise DataError(
                    f"{path} has no array {' and no '.join(missing)}; it holds {', '.join(present) or 'nothing'}.\n"
                    "Save it with numpy.savez(FILE, x_train=..., y_train=..., x_test=..., y_test=...)"
                )
            check_size(str(path), sum(_claimed_bytes(archive, name) for name in NAMES))
            return {name: _read(archive, name) for name in NAMES}
    except _BROKEN as error:
        raise DataError(f"{path} is no readable .npz file: {error}") from error


def _claimed_bytes(archive: zipfile.ZipFile, name: str) -> int:
    """Give what numpy would allocate for an array, from its header alone, and refuse arrays that need unpickling."""
    with archive.open(f"{name}.npy") as file:
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
    if dtype.hasobject:
        raise DataError(f"{name} holds Python objects, which ncdiag does not unpickle; save it as an array of numbers")
    return math.prod(shape) * dtype.itemsize


def _read(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        array: NDArray[Any] = npy.read_array(file, allow_pickle=False)
    return array


def _images(name: str, x: NDArray[Any]) -> NDArray[Any]:
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise DataError(f"{name} has shape {x.shape}; expected [N, H, W], [N, C, H, W] or vectors [N, D], none empty")
    if x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3):
        raise DataError(
            f"{name} has shape {x.shape}, which looks like [N, H, W, C]; expected [N, C, H, W].\n"
            f"Save {name}.transpose(0, 3, 1, 2)"
        )
    if x.ndim < 4:
        x = x.reshape(len(x), 1, -1, x.shape[-1])
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind != "f":
        raise DataError(f"{name} holds {x.dtype}; expected uint8 or floats. Save {name}.astype('uint8') if it fits")
    with np.errstate(over="ignore"):
        pixels = np.ascontiguousarray(x, dtype=np.float32)
    finite = np.isfinite(pixels)
    if not finite.all():
        place = np.unravel_index(int(finite.argmin()), x.shape)
        where = ", ".join(str(int(i)) for i in place)
        raise DataError(f"{name} as [N, C, H, W] holds {x[place]} at [{where}]; expected finite float32 numbers")
    return pixels


def _labels(name: str, y: NDArray[Any], num_images: int) -> NDArray[np.int64]:
    if y.shape != (num_images,):
        raise DataError(
            f"{name} has shape {y.shape}, expected ({num_images},): one whole number for each of the images in "
            f"{name.replace('y', 'x')}"
        )
    if y.dtype.kind not in "iu":
        raise DataError(
            f"{name}[0] is {y[0]} ({y.dtype}); expected whole numbers from 0 to K - 1. Save {name}.astype('int64')"
        )
    labels = y.astype(np.int64)
    if labels.min() < 0:  # or beyond what int64 holds
        place = int(labels.argmin())
        raise DataError(f"{name}[{place}] is {y[place]}; expected labels from 0 to K - 1")
    return labels


def _count_classes(y_train: NDArray[np.int64]) -> int:
    found = np.unique(y_train)
    gaps = np.flatnonzero(found != np.arange(len(found)))
    if len(gaps):
        place = int(y_train.argmax())
        raise DataError(
            f"y_train has no sample of class {gaps[0]}, although y_train[{place}] is {found[-1]}.\n"
            "Expected every class from 0 to K - 1 at least once: number the classes without gaps, from 0"
        )
    return len(found)
