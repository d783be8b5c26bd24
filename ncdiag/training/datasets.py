"""From the name of a data set to tensors on the device: loaded once, normalised batch by batch.

Images stay uint8 on a GPU, a quarter of the memory, and become normalised float32 when a batch is taken. On a CPU that
would take longer than a small network needs for them, so they are normalised once (`Dataset.normalised`).
"""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ncdiag.domain.spec import BUILTIN_DATASETS, Arch, DataSpec, RunSpec
from ncdiag.domain.words import nearest
from ncdiag.errors import DataError, SpecError, UnavailableError, UnsafeError
from ncdiag.training.array_file import read_array_file
from ncdiag.training.arrays import ImageArrays
from ncdiag.training.builtin_sets import BUILTINS
from ncdiag.training.image_folder import read_image_folder
from ncdiag.training.subset import balanced_subset, proportional_subset

RESNET_CHANNELS = 3
MNIST_SIZE = (28, 28)
NORMALISED_BYTES = 2**30  # CIFAR-10 needs 0.7 of it
MNIST_PADDING = 2  # pixels of value 0 on each side, before normalising: 28 x 28 becomes the 32 x 32 of CIFAR


class Source(NamedTuple):
    """What the user named as data set: for their own data, the SHA-256 of its content and where it lies."""

    name: str
    sha256: str | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """A data set on one device, as one architecture sees it.

    Images are [N, C, H, W], uint8 or float32, labels int64 [N] from 0 to K - 1; `mean` and `std` are float32
    [C, 1, 1]. Grey images are repeated to `channels` channels when a batch is taken. `sha256` identifies the content
    of the whole set as it was read (`ImageArrays.sha256`), whatever part of it is trained on.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    mean: Tensor
    std: Tensor
    channels: int
    sha256: str
    is_normalised: bool = False

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the inputs."""
        return self.channels, self.train_images.shape[2], self.train_images.shape[3]

    @property
    def device(self) -> torch.device:
        """The device on which the images lie."""
        return self.train_images.device

    @property
    def sizes(self) -> dict[str, int]:
        """How much there is of it, for the record."""
        return {
            "n_train": len(self.train_labels),
            "n_test": len(self.test_labels),
            "num_classes": self.num_classes,
        }

    def to(self, device: torch.device | str) -> "Dataset":
        """Give the same data set on a device."""
        moved = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)  # type: ignore[arg-type]  # every one of them is a Tensor field

    def subset(self, index: Tensor) -> "Dataset":
        """Give the data set with the training samples at `index`, int64, and the whole test set."""
        return replace(self, train_images=self.train_images[index], train_labels=self.train_labels[index])

    def normalised(self) -> "Dataset":
        """Give the same data set with images that are normalised already, or itself if they need over a gigabyte.

        A batch holds the same numbers either way, bit for bit.
        """
        if self.is_normalised or 4 * (self.train_images.numel() + self.test_images.numel()) > NORMALISED_BYTES:
            return self
        train, test = (self._normalise(images) for images in (self.train_images, self.test_images))
        return replace(self, train_images=train, test_images=test, is_normalised=True)

    def measured_part(self, spec: RunSpec) -> "Dataset":
        """Give the part that a run is measured on: of either set as many samples as it says, each class with its share.

        Raises `SpecError` for parts that would leave a class without a sample or are larger than the set.
        """
        part = self
        if spec.metric_samples is not None:
            part = part.subset(self._places(self.train_labels, spec.metric_samples, "--metric-samples"))
        if spec.test_samples is not None:
            places = self._places(self.test_labels, spec.test_samples, "--test-samples")
            part = replace(part, test_images=self.test_images[places], test_labels=self.test_labels[places])
        return part

    def _places(self, labels: Tensor, size: int, option: str) -> Tensor:
        return torch.from_numpy(proportional_subset(labels.cpu().numpy(), size, option)).to(self.device)

    def train_inputs(self, index: Tensor | slice) -> Tensor:
        """Give normalised training inputs, float32 [*index, *input_shape], on the device."""
        return self._inputs(self.train_images, index)

    def test_inputs(self, index: Tensor | slice) -> Tensor:
        """Give normalised test inputs, float32 [B, *input_shape], on the device."""
        return self._inputs(self.test_images, index)

    def train_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go once through the training set in its own order: inputs and labels of at most `size` samples at a time."""
        for start in range(0, len(self.train_labels), size):
            part = slice(start, start + size)
            yield self.train_inputs(part), self.train_labels[part]

    def test_batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Go once through the test set in its own order."""
        for start in range(0, len(self.test_labels), size):
            part = slice(start, start + size)
            yield self.test_inputs(part), self.test_labels[part]

    def _inputs(self, images: Tensor, index: Tensor | slice) -> Tensor:
        if isinstance(index, slice):
            taken = images[index]
        else:  # three times as fast as images[index] on a CPU
            taken = images.index_select(0, index.flatten()).view(index.shape + images.shape[1:])
        pixels = taken if self.is_normalised else self._normalise(taken)
        return pixels.expand(*pixels.shape[:-3], self.channels, -1, -1)

    def _normalise(self, images: Tensor) -> Tensor:
        # The same operations in the same order as torchvision's ToTensor and Normalize: the same bits.
        pixels = images
        if images.dtype == torch.uint8:  # a GPU does it in one pass, which takes a CPU twice as long as two
            pixels = images.div(255) if images.is_cuda else images.to(torch.float32).div_(255)
        return pixels.sub(self.mean).div_(self.std)


def default_data_dir() -> Path:
    """Give the folder for downloaded data: $NCDIAG_DATA, else ncdiag/data in the user's cache folder."""
    if chosen := os.environ.get("NCDIAG_DATA"):
        return Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "ncdiag" / "data"


def identify_dataset(argument: str) -> Source:
    """Tell what `--dataset ARGUMENT` means: a built-in name, a folder of images or an .npz file.

    The user's own data is read here to know its content; loading it afterwards costs nothing more. It is named after
    its folder or file, with `-dir` or `-npz` behind it where a built-in set has that name. Raises `SpecError` for
    what is neither known nor there, and the errors of the reader.
    """
    if not argument:
        raise SpecError("--dataset is empty; expected a name such as mnist, a folder or an .npz file")
    if argument in BUILTIN_DATASETS:
        return Source(argument)
    path = Path(os.path.realpath(os.path.expanduser(argument)))  # unlike pathlib's own, these never raise
    is_dir, is_file = os.path.isdir(path), os.path.isfile(path)
    if not is_dir and not (is_file and path.suffix == ".npz"):
        a_path = os.sep in argument or path.suffix == ".npz"
        there = " is a file of another kind" if is_file else " is not there" if a_path else " is not known"
        raise SpecError(
            f"data set {argument!r}{there}; expected one of {', '.join(BUILTIN_DATASETS)}"
            f"{nearest(argument, BUILTIN_DATASETS)},\n"
            "or a folder with train/ and test/ of class folders with images, or a FILE.npz"
        )
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.name if is_dir else path.stem).strip("-.") or "data"
    if name in BUILTIN_DATASETS:
        name += "-dir" if is_dir else "-npz"
    return Source(name, _read_own(path).sha256, path)


def load_dataset(spec: DataSpec, *, arch: Arch, data_dir: Path | None = None, path: Path | None = None) -> Dataset:
    """Load a data set on the CPU, as an architecture sees it.

    `data_dir` holds downloaded sets (`default_data_dir` if None), `path` the user's own data. Pixels are normalised
    with the published constants or, where there are none, the mean and deviation of the whole training set. For a
    ResNet, images of 28 x 28 pixels are padded to 32 x 32 and grey ones repeated to three channels, as published.

    Raises `UnavailableError` for data that is not there and cannot be fetched, `UnsafeError` if the user's data is not
    what the specification was made for, `DataError` for data that cannot be used.
    """
    if spec.sha256 is None:
        arrays = _read_builtin(spec.dataset, data_dir or default_data_dir())
        constants = BUILTINS[spec.dataset].constants_for(arch)
    else:
        if path is None or not path.exists():
            raise UnavailableError(
                f"data set {spec.dataset!r} is the user's own, and is not at {path or 'any place known'}.\n"
                "Say where it lies: --dataset DIR or --dataset FILE.npz"
            )
        arrays = _read_own(path)
        constants = None
        if arrays.sha256 != spec.sha256:
            raise UnsafeError(
                f"{path} has changed: its content has the SHA-256 {arrays.sha256[:12]}..., "
                f"this run was specified with {spec.sha256[:12]}...\n"
                "Put the old content back, or train a new run on the new one"
            )
    dataset = _as_seen_by(arch, arrays, name=spec.dataset, constants=constants or arrays.channel_statistics)
    if spec.train_size is None:
        return dataset
    return dataset.subset(torch.from_numpy(balanced_subset(arrays.y_train, spec.train_size, spec.subset_seed)))


def shape_seen_by(arch: Arch, image: tuple[int, int, int]) -> tuple[int, int, int]:
    """Give the shape in which a network gets images: a ResNet has three channels, and images of MNIST's size padded."""
    channels, *size = image
    if arch == "resnet20":
        channels = RESNET_CHANNELS if channels == 1 else channels
        size = [length + 2 * MNIST_PADDING for length in size] if tuple(size) == MNIST_SIZE else size
    return channels, size[0], size[1]


def _as_seen_by(
    arch: Arch, arrays: ImageArrays, *, name: str, constants: tuple[tuple[float, ...], tuple[float, ...]]
) -> Dataset:
    train, test = torch.from_numpy(arrays.x_train), torch.from_numpy(arrays.x_test)
    channels, rows, _ = shape_seen_by(arch, (train.shape[1], train.shape[2], train.shape[3]))
    if rows > train.shape[2]:
        train, test = (functional.pad(images, (MNIST_PADDING,) * 4) for images in (train, test))
    mean, std = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in constants)
    return Dataset(
        name=name,
        train_images=train,
        train_labels=torch.from_numpy(arrays.y_train),
        test_images=test,
        test_labels=torch.from_numpy(arrays.y_test),
        class_names=arrays.class_names,
        mean=mean,
        std=std,
        channels=channels,
        sha256=arrays.sha256,
    )


@lru_cache(maxsize=2)  # a process that trains many runs reads and hashes their data once
def _read_builtin(name: str, data_dir: Path) -> ImageArrays:
    return BUILTINS[name].read(data_dir)


def _read_own(path: Path) -> ImageArrays:
    try:
        return _read_own_as_it_is(path, _fingerprint(path))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error


@lru_cache(maxsize=2)
def _read_own_as_it_is(path: Path, _fingerprint: str) -> ImageArrays:
    return read_image_folder(path) if path.is_dir() else read_array_file(path)


def _fingerprint(path: Path) -> str:
    """Give a hash of names, sizes and times of modification: it changes when the data does, and reads none of it."""
    digest = hashlib.sha256()
    parts = [path / "train", path / "test"] if path.is_dir() else []  # a whole home folder would take minutes
    for file in sorted(file for part in parts for file in part.rglob("*")) or [path]:
        status = file.stat() if file.exists() else file.lstat()  # a dangling link; the reader will name it
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
