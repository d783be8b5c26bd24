import os
import tarfile
import urllib.request
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image

from ncdiag.domain.defaults import complete_spec
from ncdiag.domain.spec import DataSpec, NetworkSpec
from ncdiag.errors import DataError, SpecError, UnavailableError, UnsafeError
from ncdiag.training import datasets
from ncdiag.training.datasets import default_data_dir, identify_dataset, load_dataset
from ncdiag.training.networks import build_network

SHARED = Path(__file__).resolve().parents[3] / "shared/data"
needs_mnist = pytest.mark.skipif(not (SHARED / "MNIST/raw").is_dir(), reason=f"the real MNIST is not in {SHARED}")
RNG = np.random.default_rng(0)


def write_npz(path, *, size=(28, 28), channels=None, dtype=np.uint8, count=40):
    shape = size if channels is None else (channels, *size)
    np.savez(
        path,
        x_train=RNG.integers(0, 256, (count, *shape)).astype(dtype),
        y_train=np.arange(count) % 4,
        x_test=RNG.integers(0, 256, (8, *shape)).astype(dtype),
        y_test=np.arange(8) % 4,
    )
    return path


def write_folder(path):
    for part in ("train", "test"):
        for name in ("left", "right"):
            for place in range(3):
                file = path / part / name / f"{place}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(RNG.integers(0, 256, (5, 6), dtype=np.uint8)).save(file)
    return path


def load_own(path, *, arch="mlp", **spec):
    source = identify_dataset(str(path))
    return load_dataset(DataSpec(dataset=source.name, sha256=source.sha256, **spec), arch=arch, path=source.path)


@pytest.fixture
def digits():
    return load_dataset(DataSpec(dataset="digits"), arch="mlp")


def test_digits_need_no_network_and_no_folder(digits, monkeypatch):
    assert digits.name == "digits"
    assert digits.num_classes == 10
    assert digits.input_shape == (1, 8, 8)
    assert digits.train_images.dtype == torch.uint8
    assert digits.train_labels.dtype == torch.int64
    assert (len(digits.train_labels), len(digits.test_labels)) == (1437, 360)
    assert len(digits.sha256) == 64


def test_inputs_have_mean_zero_and_deviation_one_by_the_sets_own_constants(digits):
    x = digits.train_inputs(slice(None))
    assert x.dtype == torch.float32
    assert x.shape == (1437, 1, 8, 8)
    assert x.mean().item() == pytest.approx(0, abs=1e-5)
    assert x.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert digits.test_inputs(slice(None)).mean().item() != pytest.approx(0, abs=1e-5)  # not by the test set's own


def test_inputs_are_those_of_torchvision(tmp_path):
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    data = load_own(write_npz(tmp_path / "a.npz", channels=3))
    mean, std = data.mean.flatten().tolist(), data.std.flatten().tolist()
    theirs = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    index = torch.tensor([5, 0, 39])
    expected = torch.stack([theirs(data.train_images[i].permute(1, 2, 0).numpy()) for i in index])
    assert torch.equal(data.train_inputs(index), expected)


def test_taking_a_batch_leaves_the_images_as_they_are(tmp_path):
    for dtype in (np.uint8, np.float32):
        data = load_own(write_npz(tmp_path / f"{np.dtype(dtype)}.npz", dtype=dtype))
        before = data.train_images.clone()
        data.train_inputs(slice(None))
        data.train_inputs(torch.arange(5))
        assert torch.equal(data.train_images, before)


def test_float_images_keep_their_scale(tmp_path):
    data = load_own(write_npz(tmp_path / "a.npz", dtype=np.float64))
    pixels = data.train_images.double()
    assert pixels.max() > 1
    expected = (pixels - pixels.mean()) / pixels.std(correction=0)
    torch.testing.assert_close(data.train_inputs(slice(None)).double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 7, 40, 4096])
def test_batches_cover_the_set_once_in_its_order(tmp_path, size):
    data = load_own(write_npz(tmp_path / "a.npz"))
    inputs, labels = zip(*data.train_batches(size), strict=True)
    assert torch.equal(torch.cat(labels), data.train_labels)
    assert torch.equal(torch.cat(inputs), data.train_inputs(slice(None)))
    assert max(map(len, labels)) <= size
    inputs, labels = zip(*data.test_batches(size), strict=True)
    assert torch.equal(torch.cat(labels), data.test_labels)
    assert torch.equal(torch.cat(inputs), data.test_inputs(slice(None)))


def test_resnet_sees_images_of_mnist_padded_and_repeated(tmp_path):
    path = write_npz(tmp_path / "a.npz")
    plain, seen = load_own(path), load_own(path, arch="resnet20")
    assert plain.input_shape == (1, 28, 28)
    assert seen.input_shape == (3, 32, 32)
    x = seen.train_inputs(torch.arange(4))
    assert x.shape == (4, 3, 32, 32)
    for channel in range(3):
        assert torch.equal(x[:, channel, 2:-2, 2:-2], plain.train_inputs(torch.arange(4))[:, 0])
    black = (0 - plain.mean) / plain.std  # padding comes before normalising
    frame = torch.ones(32, 32, dtype=torch.bool)
    frame[2:-2, 2:-2] = False
    torch.testing.assert_close(x[:, :, frame], black.expand(4, 3, int(frame.sum())))
    assert seen.test_inputs(slice(None)).shape == (8, 3, 32, 32)
    assert seen.sha256 == plain.sha256  # what was read, not what the network sees


@pytest.mark.parametrize(
    ("size", "channels", "expected"), [((8, 8), None, (3, 8, 8)), ((32, 32), 3, (3, 32, 32)), ((9, 7), 3, (3, 9, 7))]
)
def test_resnet_takes_other_sizes_as_they_are(tmp_path, size, channels, expected):
    data = load_own(write_npz(tmp_path / "a.npz", size=size, channels=channels), arch="resnet20")
    assert data.input_shape == expected
    assert data.train_inputs(slice(0, 2)).shape == (2, *expected)


@pytest.mark.parametrize("arch", ["mlp", "cnn", "resnet20"])
def test_every_architecture_takes_the_digits(arch):
    data = load_dataset(DataSpec(dataset="digits", train_size=20), arch=arch)
    spec = NetworkSpec(arch=arch, depth=8, width=1 if arch == "resnet20" else 16)
    network = build_network(
        spec, input_shape=data.input_shape, num_classes=data.num_classes, generator=torch.Generator().manual_seed(0)
    )
    assert network(data.train_inputs(slice(None))).shape == (20, 10)


def test_training_subset_is_balanced_and_keeps_constants_and_hash(digits):
    part = load_dataset(DataSpec(dataset="digits", train_size=105, subset_seed=3), arch="mlp")
    assert part.train_labels.bincount().tolist() == [11] * 5 + [10] * 5
    assert torch.equal(part.test_images, digits.test_images)
    assert torch.equal(part.mean, digits.mean)
    assert part.sha256 == digits.sha256
    whole = {
        image.numpy().tobytes(): label for image, label in zip(digits.train_images, digits.train_labels, strict=True)
    }
    assert all(whole[i.numpy().tobytes()] == y for i, y in zip(part.train_images, part.train_labels, strict=True))
    other = load_dataset(DataSpec(dataset="digits", train_size=105, subset_seed=4), arch="mlp")
    assert not torch.equal(other.train_images, part.train_images)


def test_parts_that_are_measured_keep_the_shares_of_the_classes(digits):
    part = digits.measured_part(complete_spec({"metric_samples": 400, "test_samples": 100}))
    for mine, all_of_it in ((part.train_labels, digits.train_labels), (part.test_labels, digits.test_labels)):
        assert (mine.bincount() - all_of_it.bincount() * len(mine) / len(all_of_it)).abs().max() < 1
    assert part.test_images.shape == (100, 1, 8, 8)
    assert digits.measured_part(complete_spec({})) is digits
    only = digits.measured_part(complete_spec({"test_samples": 100}))
    assert only.train_images is digits.train_images
    assert torch.equal(only.test_labels, part.test_labels)


def test_images_are_normalised_once_where_they_take_no_more_than_a_gigabyte(digits, monkeypatch):
    needed = 4 * 64 * (1437 + 360)  # bytes of float32
    monkeypatch.setattr(datasets, "NORMALISED_BYTES", needed)
    ready = digits.normalised()
    assert ready.train_images.dtype == torch.float32
    assert ready.normalised() is ready
    for part in (slice(5, 9), torch.tensor([3, 1])):
        assert torch.equal(ready.train_inputs(part), digits.train_inputs(part))
        assert torch.equal(ready.test_inputs(part), digits.test_inputs(part))
    monkeypatch.setattr(datasets, "NORMALISED_BYTES", needed - 1)
    assert digits.normalised() is digits


def test_training_subset_that_is_too_large():
    with pytest.raises(SpecError, match=r"not 1437.*\n.*all 1437"):
        load_dataset(DataSpec(dataset="digits", train_size=1437), arch="mlp")


def test_to_moves_every_tensor(digits):
    moved = digits.to("meta")
    assert moved.device.type == "meta"
    for name in ("train_images", "train_labels", "test_images", "test_labels", "mean", "std"):
        assert getattr(moved, name).device.type == "meta"
    assert moved.train_inputs(slice(0, 3)).device.type == "meta"
    assert digits.device.type == "cpu"


@pytest.mark.gpu
def test_inputs_on_a_gpu_are_those_of_the_cpu(digits):
    moved = digits.to("cuda")
    index = torch.arange(0, 1437, 3)
    torch.testing.assert_close(moved.train_inputs(index.cuda()).cpu(), digits.train_inputs(index))


def test_builtin_names_are_identified_without_loading(monkeypatch):
    monkeypatch.setattr(datasets, "BUILTINS", None)
    assert identify_dataset("mnist") == ("mnist", None, None)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "minst",
            r"data set 'minst' is not known; expected one of digits, mnist, .*did you mean mnist\?\),\nor a folder",
        ),
        ("no/such/folder", r"'no/such/folder' is not there.*\n.*a folder with train/ and test/"),
        ("missing.npz", r"'missing.npz' is not there.*\n.*FILE.npz"),
        ("x" * 5000, "is not known"),
        (__file__, r"test_datasets.py' is a file of another kind"),
    ],
)
def test_unknown_data_set_names_what_there_is(argument, message):
    with pytest.raises(SpecError, match=message):
        identify_dataset(argument)


def test_an_empty_data_set_is_refused_and_not_the_folder_here() -> None:
    with pytest.raises(SpecError, match="--dataset is empty; expected a name such as mnist"):
        identify_dataset("")


def test_own_data_is_identified_by_its_content(tmp_path):
    source = identify_dataset(str(write_npz(tmp_path / "mine.npz")))
    assert source.name == "mine"
    assert source.path == tmp_path / "mine.npz"
    os.rename(tmp_path / "mine.npz", tmp_path / "yours.npz")
    again = identify_dataset(str(tmp_path / "yours.npz"))
    assert (again.name, again.sha256) == ("yours", source.sha256)
    data = load_own(tmp_path / "yours.npz")
    assert data.sha256 == source.sha256


def test_folder_is_named_after_itself_wherever_it_is_named_from(tmp_path, monkeypatch):
    monkeypatch.chdir(write_folder(tmp_path / "hands"))
    source = identify_dataset(".")
    assert (source.name, source.path) == ("hands", tmp_path / "hands")
    assert load_own(".").class_names == ("left", "right")


@pytest.mark.parametrize(
    ("file", "name"),
    [("mnist.npz", "mnist-npz"), ("my photos (2).npz", "my-photos-2"), ("=cmd|'.npz", "cmd"), ("ü.npz", "data")],
)
def test_name_of_own_data_is_plain_and_never_a_builtin_one(tmp_path, file, name):
    assert identify_dataset(str(write_npz(tmp_path / file))).name == name


def test_folder_called_like_a_builtin_set_is_not_taken_for_it(tmp_path):
    assert identify_dataset(str(write_folder(tmp_path / "cifar10"))).name == "cifar10-dir"


def test_own_data_is_read_once_until_it_changes(tmp_path, monkeypatch):
    reads = []

    def counted(read):
        return lambda path: reads.append(path) or read(path)

    monkeypatch.setattr(datasets, "read_array_file", counted(datasets.read_array_file))
    monkeypatch.setattr(datasets, "read_image_folder", counted(datasets.read_image_folder))
    path, folder = write_npz(tmp_path / "a.npz"), write_folder(tmp_path / "b")
    for _ in range(2):
        load_own(path)
        load_own(folder)
    assert reads == [path, folder]
    write_npz(path, count=44)
    Image.new("L", (6, 5)).save(folder / "train/left/9.png")
    assert (len(load_own(path).train_labels), len(load_own(folder).train_labels)) == (44, 7)


def test_own_data_that_changed_is_refused(tmp_path):
    source = identify_dataset(str(write_npz(tmp_path / "a.npz")))
    write_npz(tmp_path / "a.npz")
    with pytest.raises(UnsafeError, match=rf"a.npz has changed.*{source.sha256[:12]}"):
        load_dataset(DataSpec(dataset="a", sha256=source.sha256), arch="mlp", path=source.path)


@pytest.mark.parametrize("path", [None, Path("/no/such/place")])
def test_own_data_that_is_not_there(path):
    said = rf"data set 'a' is the user's own, and is not at {path or 'any place known'}\.\n.*--dataset DIR"
    with pytest.raises(UnavailableError, match=said):
        load_dataset(DataSpec(dataset="a", sha256="0" * 64), arch="mlp", path=path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_own_data_that_may_not_be_read(tmp_path):
    write_npz(tmp_path / "a.npz").chmod(0)
    with pytest.raises(DataError, match=r"a\.npz"):
        identify_dataset(str(tmp_path / "a.npz"))


def test_builtin_set_is_read_once_for_every_architecture(monkeypatch):
    datasets._read_builtin.cache_clear()
    first = load_dataset(DataSpec(dataset="digits"), arch="mlp")
    second = load_dataset(DataSpec(dataset="digits", train_size=30), arch="resnet20")
    assert datasets._read_builtin.cache_info().misses == 1
    assert first.sha256 == second.sha256


def test_offline_says_where_to_put_the_files(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("NCDIAG_DATA", str(tmp_path))
    with pytest.raises(UnavailableError, match=str(tmp_path / "MNIST/raw")):
        load_dataset(DataSpec(dataset="mnist"), arch="mlp")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"NCDIAG_DATA": "/data", "XDG_CACHE_HOME": "/cache"}, "/data"),
        ({"NCDIAG_DATA": "~/data"}, "/home/me/data"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/ncdiag/data"),
        ({}, "/home/me/.cache/ncdiag/data"),
    ],
)
def test_default_data_folder(monkeypatch, environment, expected):
    for name in ("NCDIAG_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert default_data_dir() == Path(expected)


@needs_mnist
def test_real_mnist_as_the_published_runs_saw_it():
    plain = load_dataset(DataSpec(dataset="mnist"), arch="mlp", data_dir=SHARED)
    seen = load_dataset(DataSpec(dataset="mnist", train_size=2000), arch="resnet20", data_dir=SHARED)
    assert plain.input_shape == (1, 28, 28)
    assert seen.input_shape == (3, 32, 32)
    assert plain.train_labels.bincount().min() == 5421
    assert plain.train_labels.bincount().max() == 6742
    assert seen.train_labels.bincount().tolist() == [200] * 10
    x = plain.train_inputs(slice(None))
    assert x.mean().item() == pytest.approx(0, abs=2e-4)
    assert x.std().item() == pytest.approx(1, abs=2e-4)
    assert x.min().item() == pytest.approx(-0.1307 / 0.3081)
    assert seen.train_inputs(slice(0, 1))[0, :, 0, 0].tolist() == pytest.approx([-0.1307 / 0.3081] * 3)


@pytest.mark.slow
def test_real_colour_images_in_class_folders(tmp_path):
    archive = SHARED / "cifar10-jpeg/cifar10-jpeg.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{archive} is not there")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "cifar10-jpeg", filter="data")
    data = load_own(tmp_path / "cifar10-jpeg", arch="resnet20", train_size=2000)
    assert data.name == "cifar10-jpeg"
    assert data.input_shape == (3, 32, 32)
    assert data.class_names[0] == "airplane"
    assert data.train_labels.bincount().tolist() == [200] * 10
    assert len(data.test_labels) == 10_000
    # CIFAR-10's published means; a JPEG copy keeps the mean of a channel to within about a grey level
    np.testing.assert_allclose(data.mean.flatten(), [0.4914, 0.4822, 0.4465], atol=0.004)
