import gzip
import hashlib
import io
import pickle
import struct

import numpy as np
import pytest
from public_sets import Python2Pickler

from ncdiag.errors import DataError
from ncdiag.training.public_files import CIFAR10, FASHION_MNIST, MNIST, PublicFiles, parse_cifar_batch, parse_idx

CONTENT = b"some bytes of a data set"
FILES = PublicFiles(
    torchvision_class="MNIST", folder="Some/raw", md5={"a-file": hashlib.md5(CONTENT).hexdigest(), "other": "0" * 32}
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Some/raw").mkdir(parents=True)
    return tmp_path / "Some/raw"


@pytest.mark.parametrize("name", ["a-file", "a-file.gz"])
def test_reads_a_file_plain_or_gzipped(tmp_path, folder, name):
    (folder / name).write_bytes(gzip.compress(CONTENT, 1) if name.endswith("gz") else CONTENT)
    assert FILES.missing(tmp_path) == ["other"]
    assert FILES.read(tmp_path, "a-file") == CONTENT


def test_everything_is_missing_from_a_folder_that_is_not_there(tmp_path):
    assert FILES.missing(tmp_path / "nowhere") == ["a-file", "other"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a-file", CONTENT[:-1]),
        ("a-file", b""),
        ("a-file.gz", CONTENT),
        ("a-file.gz", gzip.compress(CONTENT)[:-10]),
        ("a-file.gz", gzip.compress(CONTENT[::-1])),
        ("a-file.gz", gzip.compress(CONTENT)[:12] + b"\xff\xff\xff" + gzip.compress(CONTENT)[15:]),
    ],
)
def test_damaged_file_is_named_with_both_sums(tmp_path, folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is damaged.*\n.*{FILES.md5['a-file']}.\nDelete it"):
        FILES.read(tmp_path, "a-file")
    assert (folder / name).read_bytes() == content


def test_reads_no_more_of_a_gzipped_file_than_a_public_one_can_hold(tmp_path, folder, monkeypatch):
    monkeypatch.setattr("ncdiag.training.public_files._LARGEST_FILE", len(CONTENT))
    (folder / "a-file.gz").write_bytes(gzip.compress(CONTENT + bytes(10**6)))
    # Cut at the limit, what is left happens to be the known content: reading did stop there.
    assert FILES.read(tmp_path, "a-file") == CONTENT


@pytest.mark.parametrize("files", [MNIST, FASHION_MNIST, CIFAR10])
def test_sums_are_distinct_md5_sums(files):
    assert len(set(files.md5.values())) == len(files.md5)
    assert all(len(md5) == 32 and int(md5, 16) for md5 in files.md5.values())


def test_cifar_sums_are_those_of_torchvision():
    try:
        from torchvision.datasets import CIFAR10 as THEIRS
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision does not load: {error}")
    assert dict(map(tuple, THEIRS.train_list + THEIRS.test_list)) == CIFAR10.md5
    assert THEIRS.base_folder == CIFAR10.folder


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,), (1, 28, 28)])
def test_parses_idx(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}i", *shape) + values.tobytes()
    parsed = parse_idx(content)
    np.testing.assert_array_equal(parsed, values)
    assert parsed.flags.writeable  # torch shares its memory


def cifar_batch(pickler):
    rng = np.random.default_rng(3)
    data = rng.integers(0, 256, (5, 3072), dtype=np.uint8)
    file = io.BytesIO()
    pickler(file, protocol=2).dump(
        {"batch_label": "a batch", "labels": [6, 9, 9, 4, 1], "data": data, "filenames": ["x.png"] * 5}
    )
    return data, file.getvalue()


def test_parses_a_cifar_batch_of_python_2():
    data, content = cifar_batch(Python2Pickler)
    assert b"cnumpy.core.multiarray\n_reconstruct" in content
    assert b"_codecs" not in content
    images, labels = parse_cifar_batch(content)
    assert labels.tolist() == [6, 9, 9, 4, 1]
    assert labels.dtype == np.int64
    # The first 1,024 bytes of a row are the red channel, row by row of the image.
    assert images.shape == (5, 3, 32, 32)
    assert images.dtype == np.uint8
    assert images[2, 1, 4, 7] == data[2, 1024 + 4 * 32 + 7]


def test_cifar_batch_that_calls_something_else_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    with pytest.raises(pickle.UnpicklingError, match="does not belong into a CIFAR batch"):
        parse_cifar_batch(pickle.dumps({"data": Trap(), "labels": []}))
    assert not (tmp_path / "sprung").exists()
