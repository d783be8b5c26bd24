"""The published files of MNIST, Fashion-MNIST and CIFAR-10: where they lie, what their MD5 is, what is in them.

ncdiag reads these files by itself and needs torchvision only to fetch them: a torchvision that does not fit the
installed torch fails on import, and must not stand between a user and files that are already there. The layout is
torchvision's, so a folder that it filled serves as it is.
"""

import gzip
import hashlib
import io
import pickle
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ncdiag.errors import DataError

_LARGEST_FILE = 1 << 26  # bytes; the largest of them, MNIST's training images, has 47 MB


@dataclass(frozen=True, kw_only=True)
class PublicFiles:
    """A published data set as files in `folder`, relative to the data folder.

    `md5` maps the name of a file to the MD5 of its content; a file may also lie there gzipped, as NAME.gz.
    `torchvision_class` is the class of torchvision.datasets that fetches it.
    """

    torchvision_class: str
    folder: str
    md5: dict[str, str]

    def missing(self, data_dir: Path) -> list[str]:
        """List the files that are not there, gzipped or not."""
        return [name for name in self.md5 if self._find(data_dir, name) is None]

    def read(self, data_dir: Path, name: str) -> bytes:
        """Give the content of a file that is there; `DataError` unless its MD5 is the published one."""
        path = self._find(data_dir, name)
        if path is None:
            raise FileNotFoundError(f"{name} has to be fetched before it is read")
        try:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                content = file.read(_LARGEST_FILE)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            content = b""
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}") from error
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != self.md5[name]:
            raise DataError(
                f"{path} is damaged: its content has the MD5 {found},\nthe published file has {self.md5[name]}.\n"
                "Delete it, and ncdiag fetches it again"
            )
        return content

    def _find(self, data_dir: Path, name: str) -> Path | None:
        folder = data_dir / self.folder
        return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


# The MD5 of the unpacked files: of MNIST and Fashion-MNIST as in many public listings, of CIFAR-10 as in torchvision.
MNIST = PublicFiles(
    torchvision_class="MNIST",
    folder="MNIST/raw",
    md5={
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
FASHION_MNIST = PublicFiles(
    torchvision_class="FashionMNIST",
    folder="FashionMNIST/raw",
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)
CIFAR10 = PublicFiles(
    torchvision_class="CIFAR10",
    folder="cifar-10-batches-py",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)


def parse_idx(content: bytes) -> NDArray[np.uint8]:
    """Give the array of an IDX file of unsigned bytes: 0, 0, 8, number of axes, their sizes (big-endian), values."""
    axes = content[3]
    shape = np.frombuffer(content, dtype=">i4", count=axes, offset=4)
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape).copy()


def parse_cifar_batch(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Give images [N, 3, 32, 32] and labels [N] of a batch of CIFAR-10 in its Python form, a pickle of Python 2."""
    batch = _CifarUnpickler(io.BytesIO(content), encoding="latin1").load()
    return batch["data"].reshape(-1, 3, 32, 32), np.array(batch["labels"], dtype=np.int64)


class _CifarUnpickler(pickle.Unpickler):  # its input has passed its MD5, and it makes nothing but arrays
    """Reads a pickle that holds plain values and numpy arrays; anything else in it is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")}:
            return np.empty(0).__reduce__()[0]  # the same function, wherever this numpy keeps it
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _make_dtype
        raise pickle.UnpicklingError(f"{module}.{name} does not belong into a CIFAR batch")


def _make_dtype(code: str, align: int, copy: int) -> np.dtype[Any]:
    """Make the dtype of a pickle of 2009, which gives 0 and 1 where numpy 2.4 asks for booleans."""
    return np.dtype(code, align=bool(align), copy=bool(copy))
