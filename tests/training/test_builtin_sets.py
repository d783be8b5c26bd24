import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ncdiag.domain.spec import BUILTIN_DATASETS
from ncdiag.training import builtin_sets, public_files
from ncdiag.training.builtin_sets import BUILTINS, read_cifar10, read_digits, read_fashion_mnist, read_mnist

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
needs_mnist = pytest.mark.skipif(not (SHARED / "MNIST/raw").is_dir(), reason=f"the real MNIST is not in {SHARED}")


def test_every_name_has_an_entry():
    assert tuple(BUILTINS) == BUILTIN_DATASETS


@pytest.mark.parametrize(
    ("name", "arch", "constants"),
    [
        ("mnist", "mlp", ((0.1307,), (0.3081,))),
        ("mnist", "resnet20", ((0.1307,), (0.3081,))),
        ("cifar10", "mlp", ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
        ("cifar10", "cnn", ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))),
        ("cifar10", "resnet20", ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))),
        ("fashion_mnist", "cnn", ((0.2860,), (0.3530,))),
        ("digits", "resnet20", None),
    ],
)
def test_constants_are_the_published_ones(name, arch, constants):
    assert BUILTINS[name].constants_for(arch) == constants


def test_digits_are_those_of_scikit_learn_split_by_class(tmp_path):
    data = read_digits(tmp_path)
    assert data.x_train.shape == (1437, 1, 8, 8)
    assert data.x_test.shape == (360, 1, 8, 8)
    images, labels = load_digits(return_X_y=True)
    np.testing.assert_array_equal(np.bincount(data.y_train) + np.bincount(data.y_test), np.bincount(labels))
    share = np.bincount(data.y_test) / np.bincount(labels)
    assert np.abs(share - 0.2).max() < 1 / 174  # a fifth of each class, to within one image of the smallest

    def rows(x, y):
        return sorted((*image.ravel().tolist(), label) for image, label in zip(x, y.tolist(), strict=True))

    together = rows(np.concatenate([data.x_train, data.x_test]) / 15, np.concatenate([data.y_train, data.y_test]))
    assert together == rows(images, labels)


def test_digits_split_is_the_documented_one(tmp_path):
    images, labels = load_digits(return_X_y=True)
    in_order = [place for label in range(10) for place in range(1797) if labels[place] == label]
    test = sorted(in_order[::5])
    data = read_digits(tmp_path)
    np.testing.assert_array_equal(data.x_test.reshape(360, 64), images[test] * 15)
    np.testing.assert_array_equal(data.y_test, labels[test])


@needs_mnist
def test_real_mnist_is_read_without_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)  # importing it now fails
    data = read_mnist(SHARED)
    assert data.x_train.shape == (60_000, 1, 28, 28)
    assert data.x_test.shape == (10_000, 1, 28, 28)
    assert tuple(np.bincount(data.y_train).tolist()) == BUILTINS["mnist"].train_counts
    assert tuple(np.bincount(data.y_test).tolist()) == BUILTINS["mnist"].test_counts
    assert data.y_train[:5].tolist() == [5, 0, 4, 1, 9]
    # The well-known constants of MNIST are those of its training pixels
    mean, std = data.channel_statistics
    assert mean == pytest.approx([0.1307], abs=5e-5)
    assert std == pytest.approx([0.3081], abs=5e-5)
    # Behind a header of 16 bytes, the published file is exactly these pixels
    header = bytes.fromhex("00000803 0000ea60 0000001c 0000001c")
    md5 = hashlib.md5(header + data.x_train.tobytes()).hexdigest()
    assert md5 == "6bbc9ace898e44ae57da46a324031adb"


def synthetic(monkeypatch, tmp_path, files, content):
    """Put small files with known sums in the place of a published set."""
    known = public_files.PublicFiles(
        torchvision_class=files.torchvision_class,
        folder=files.folder,
        md5={name: hashlib.md5(content[name]).hexdigest() for name in files.md5},
    )
    (tmp_path / files.folder).mkdir(parents=True)
    for name, text in content.items():
        (tmp_path / files.folder / name).write_bytes(text)
    return known


def test_fashion_mnist_is_read_from_its_own_folder(monkeypatch, tmp_path):
    images, labels = bytes([0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 2, 0, 0, 0, 1]), bytes([0, 0, 8, 1, 0, 0, 0, 10])
    content = {
        "train-images-idx3-ubyte": images + bytes(range(20)),
        "train-labels-idx1-ubyte": labels + bytes(range(10)),
        "t10k-images-idx3-ubyte": images + bytes(range(100, 120)),
        "t10k-labels-idx1-ubyte": labels + bytes(reversed(range(10))),
    }
    known = synthetic(monkeypatch, tmp_path, public_files.FASHION_MNIST, content)
    monkeypatch.setattr(builtin_sets, "FASHION_MNIST", known)
    data = read_fashion_mnist(tmp_path)
    assert (tmp_path / "FashionMNIST/raw").is_dir()
    assert data.x_train[3].tolist() == [[[6], [7]]]
    assert data.x_test[9].tolist() == [[[118], [119]]]
    assert data.y_test.tolist() == list(range(9, -1, -1))
    assert data.class_names[9] == "Ankle boot"


def test_cifar10_joins_its_five_batches(monkeypatch, tmp_path):
    names = list(public_files.CIFAR10.md5)
    content = {name: name.encode() for name in names}
    monkeypatch.setattr(builtin_sets, "CIFAR10", synthetic(monkeypatch, tmp_path, public_files.CIFAR10, content))

    def parse(text):
        place = names.index(text.decode())
        return np.full((2, 3, 32, 32), place, dtype=np.uint8), np.array([place, place + 1])

    monkeypatch.setattr(builtin_sets, "parse_cifar_batch", parse)
    data = read_cifar10(tmp_path)
    assert data.x_train[:, 0, 0, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert data.y_train.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert data.x_test[:, 0, 0, 0].tolist() == [5, 5]
    assert data.class_names == (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    )  # fmt: skip


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_missing_files_are_fetched(monkeypatch, tmp_path, name):
    class Fetched(Exception):  # noqa: N818
        pass

    def fetch(files, data_dir):
        raise Fetched(files.folder, data_dir)

    monkeypatch.setattr(builtin_sets, "download", fetch)
    with pytest.raises(Fetched) as call:
        BUILTINS[name].read(tmp_path)
    folder = {"mnist": "MNIST/raw", "fashion_mnist": "FashionMNIST/raw", "cifar10": "cifar-10-batches-py"}[name]
    assert call.value.args == (folder, tmp_path)
