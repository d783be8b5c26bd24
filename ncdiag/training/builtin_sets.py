"""The data sets that ncdiag knows by name: how each is read, and the constants its pixels are normalised with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncdiag.domain.spec import Arch
from ncdiag.training.arrays import ImageArrays
from ncdiag.training.download import download
from ncdiag.training.public_files import (
    CIFAR10,
    FASHION_MNIST,
    MNIST,
    PublicFiles,
    parse_cifar_batch,
    parse_idx,
)

Constants = tuple[tuple[float, ...], tuple[float, ...]]  # mean and standard deviation of each channel

DIGITS = tuple("0123456789")
GARMENTS = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True, kw_only=True)
class Builtin:
    """A data set known by name.

    `image` is the shape of an image (channels, rows, columns), `train_counts` and `test_counts` how many there are of
    each class, as is known before anything is downloaded. `constants` are for pixels as fractions of 255; None means
    the training set's own mean and deviation. `resnet_constants` replace them for a ResNet.
    """

    read: Callable[[Path], ImageArrays]
    image: tuple[int, int, int]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    constants: Constants | None = None
    resnet_constants: Constants | None = None

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.train_counts)

    @property
    def train_size(self) -> int:
        """The number of training images."""
        return sum(self.train_counts)

    @property
    def test_size(self) -> int:
        """The number of test images."""
        return sum(self.test_counts)

    def constants_for(self, arch: Arch) -> Constants | None:
        """Give the constants that the published runs of an architecture used; None for the set's own."""
        return self.resnet_constants or self.constants if arch == "resnet20" else self.constants


def read_digits(_: Path) -> ImageArrays:
    """Give scikit-learn's digits, 1,437 + 360 images of 8 x 8 pixels, from the installed package.

    Their values 0..16 are multiplied by 15: exactly proportional, so normalised pixels are those of the original.
    The set comes without a split. In the order of their class, then of the file, every fifth image from the first on
    is a test image; so each class has its share, and nothing depends on a random generator.
    """
    from sklearn.datasets import load_digits  # takes a second to import, and only this set needs it

    images, labels = load_digits(return_X_y=True)
    pixels = (images * 15).astype(np.uint8).reshape(-1, 1, 8, 8)
    by_class = np.argsort(labels, kind="stable")
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[by_class[::5]] = True
    labels = labels.astype(np.int64)
    return ImageArrays(
        x_train=pixels[~is_test],
        y_train=labels[~is_test],
        x_test=pixels[is_test],
        y_test=labels[is_test],
        class_names=DIGITS,
    )


def read_mnist(data_dir: Path) -> ImageArrays:
    """Give MNIST, 60,000 + 10,000 grey images of 28 x 28 pixels, fetched first if it is not in the data folder."""
    return _read_idx_set(MNIST, data_dir, DIGITS)


def read_fashion_mnist(data_dir: Path) -> ImageArrays:
    """Give Fashion-MNIST, which has the form of MNIST."""
    return _read_idx_set(FASHION_MNIST, data_dir, GARMENTS)


def read_cifar10(data_dir: Path) -> ImageArrays:
    """Give CIFAR-10, 50,000 + 10,000 colour images of 32 x 32 pixels, fetched first if it is not there."""
    _fetch(CIFAR10, data_dir)
    *train, test = (parse_cifar_batch(CIFAR10.read(data_dir, name)) for name in CIFAR10.md5)
    return ImageArrays(
        x_train=np.concatenate([images for images, _ in train]),
        y_train=np.concatenate([labels for _, labels in train]),
        x_test=test[0],
        y_test=test[1],
        class_names=CIFAR_CLASSES,
    )


def _fetch(files: PublicFiles, data_dir: Path) -> None:
    if files.missing(data_dir):
        download(files, data_dir)


def _read_idx_set(files: PublicFiles, data_dir: Path, class_names: tuple[str, ...]) -> ImageArrays:
    _fetch(files, data_dir)
    x_train, y_train, x_test, y_test = (parse_idx(files.read(data_dir, name)) for name in files.md5)
    return ImageArrays(
        x_train=x_train[:, None],
        y_train=y_train.astype(np.int64),
        x_test=x_test[:, None],
        y_test=y_test.astype(np.int64),
        class_names=class_names,
    )


# MNIST and CIFAR-10 as published (arXiv 2604.00230): the ResNet runs on CIFAR-10 used the deviations that became
# customary there, which average the deviation within each image; the others are over all pixels. Fashion-MNIST was
# published without constants; these are its usual ones.
BUILTINS: dict[str, Builtin] = {
    "digits": Builtin(
        read=read_digits,
        image=(1, 8, 8),
        train_counts=(142, 146, 141, 147, 144, 146, 145, 143, 139, 144),
        test_counts=(36, 36, 36, 36, 37, 36, 36, 36, 35, 36),
    ),
    "mnist": Builtin(
        read=read_mnist,
        image=(1, 28, 28),
        train_counts=(5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        test_counts=(980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
        constants=((0.1307,), (0.3081,)),
    ),
    "fashion_mnist": Builtin(
        read=read_fashion_mnist,
        image=(1, 28, 28),
        train_counts=(6000,) * 10,
        test_counts=(1000,) * 10,
        constants=((0.2860,), (0.3530,)),
    ),
    "cifar10": Builtin(
        read=read_cifar10,
        image=(3, 32, 32),
        train_counts=(5000,) * 10,
        test_counts=(1000,) * 10,
        constants=((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        resnet_constants=((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ),
}
