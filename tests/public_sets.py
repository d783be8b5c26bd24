"""The published data sets in small: files of the same form and in the same places, of made-up images."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ncdiag.training import public_files
from ncdiag.training.public_files import PublicFiles

N_TRAIN, N_TEST = 200, 50


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 did, where both were `str`, and numpy's functions under their old names."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_old_str(self, value):
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_old_str

    def save_global(self, value, name=None):
        module = value.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or value.__qualname__}\n".encode())
        self.memoize(value)

    dispatch[type] = dispatch[type(lambda: 0)] = save_global


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file, protocol=2).dump(value)
    return file.getvalue()


def idx(values: NDArray[np.uint8]) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}i", *values.shape) + values.tobytes()


def images(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Give images of ten classes, each brighter than the one before, and their labels."""
    labels = np.arange(shape[0], dtype=np.uint8) % 10
    noise = np.random.default_rng(seed).integers(0, 25, shape, dtype=np.uint8)
    return noise + 23 * labels.reshape(-1, *[1] * (len(shape) - 1)), labels


def make_idx_files(seed: int) -> dict[str, bytes]:
    """Give the four files of a set of the form of MNIST, unpacked."""
    (x, y), (u, v) = images((N_TRAIN, 28, 28), seed), images((N_TEST, 28, 28), seed + 1)
    return dict(zip(public_files.MNIST.md5, map(idx, (x, y, u, v)), strict=True))


def make_cifar_files() -> dict[str, bytes]:
    """Give the six batches of a set of the form of CIFAR-10."""
    files = {}
    for number, name in enumerate(public_files.CIFAR10.md5):
        pixels, labels = images((N_TRAIN // 5, 3072), number)
        files[name] = pickled({"batch_label": name, "labels": labels.tolist(), "data": pixels})
    return files


def make_all() -> dict[str, tuple[PublicFiles, dict[str, bytes]]]:
    """Give the three sets by the name of their constant in `public_files`: their sums and their files."""
    content = {"MNIST": make_idx_files(0), "FASHION_MNIST": make_idx_files(7), "CIFAR10": make_cifar_files()}
    return {
        name: (replace(getattr(public_files, name), md5={file: md5(data) for file, data in files.items()}), files)
        for name, files in content.items()
    }


def put(files: PublicFiles, content: dict[str, bytes], data_dir: Path) -> None:
    """Put files where a user who fetched them by hand would."""
    (data_dir / files.folder).mkdir(parents=True)
    for name, data in content.items():
        (data_dir / files.folder / name).write_bytes(data)


def packed(name: str, content: dict[str, bytes]) -> dict[str, bytes]:
    """Give the files of a set as its server has them."""
    if name != "CIFAR10":
        return {f"{file}.gz": gzip.compress(data, 1) for file, data in content.items()}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file, data in {**content, "batches.meta": META}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{file}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return {"cifar-10-python.tar.gz": archive.getvalue()}


META = pickled({"label_names": ["airplane", "automobile"]})


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()
