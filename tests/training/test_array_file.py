import io
import zipfile

import numpy as np
import pytest

from ncdiag.errors import DataError, UnsafeError
from ncdiag.training.array_file import read_array_file


def arrays(**changes):
    rng = np.random.default_rng(0)
    whole = {
        "x_train": rng.integers(0, 256, (12, 5, 4), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": rng.integers(0, 256, (6, 5, 4), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
    }
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not None}


@pytest.fixture
def save(tmp_path):
    def save_as_npz(**changes):
        path = tmp_path / "mine.npz"
        np.savez(path, **arrays(**changes))
        return path

    return save_as_npz


def images(shape, dtype=np.uint8):
    return (np.arange(np.prod(shape)) % 200).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 4), (1, 5, 4)), ((3, 5, 4), (3, 5, 4)), ((3, 5, 3), (3, 5, 3)), ((1, 5, 3), (1, 5, 3)), ((7,), (1, 1, 7))],
    ids=["grey", "channels first", "channels first, three wide", "one channel, three wide", "vectors"],
)
@pytest.mark.parametrize(
    ("dtype", "kept"), [("uint8", "uint8"), ("float32", "float32"), ("float64", "float32"), (">f4", "float32")]
)
def test_reads_images_and_vectors(save, shape, expected, dtype, kept):
    x_train, x_test = images((12, *shape), dtype), images((6, *shape), dtype)[::-1]
    data = read_array_file(save(x_train=x_train, x_test=x_test))
    assert data.x_train.shape == (12, *expected)
    assert data.x_train.dtype == data.x_test.dtype == np.dtype(kept)
    np.testing.assert_array_equal(data.x_train.ravel(), x_train.ravel())
    np.testing.assert_array_equal(data.x_test.ravel(), x_test.ravel())
    assert data.y_train.dtype == np.int64
    assert data.y_train.tolist() == [0, 1, 2] * 4
    assert data.class_names == ("0", "1", "2")


def test_reads_compressed_files_and_small_label_types(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", **arrays(y_train=(np.arange(12) % 3).astype(np.uint8)))
    assert read_array_file(tmp_path / "a.npz").y_train.tolist() == [0, 1, 2] * 4


def test_accepts_a_class_that_is_missing_from_the_test_set(save):
    assert read_array_file(save(y_test=np.zeros(6, dtype=int))).class_names == ("0", "1", "2")


def with_value(array, place, value):
    array = array.copy()
    array[place] = value
    return array


FLOATS = images((12, 5, 4), np.float64)
BAD = {
    "missing array": ({"y_test": None}, r"has no array y_test; it holds x_train, y_train, x_test"),
    "two missing": ({"x_test": None, "y_test": None}, r"no array x_test and no y_test"),
    "NaN pixel": (
        {"x_train": with_value(FLOATS, (3, 1, 2), np.nan), "x_test": FLOATS[:6]},
        r"x_train as \[N, C, H, W\] holds nan at \[3, 0, 1, 2\]",
    ),
    "infinite pixel": (
        {"x_train": FLOATS, "x_test": with_value(FLOATS[:6], (5, 4, 3), -np.inf)},
        r"x_test as .* holds -inf at \[5, 0, 4, 3\]",
    ),
    "beyond float32": (
        {"x_train": with_value(FLOATS, 0, 1e300), "x_test": FLOATS[:6]},
        r"x_train .*1e\+300 at \[0, 0, 0, 0\]",
    ),
    "negative label": ({"y_train": with_value(np.arange(12) % 3, 4, -1)}, r"y_train\[4\] is -1"),
    "float labels": ({"y_train": np.arange(12) % 3 + 0.5}, r"y_train\[0\] is 0.5 \(float64\)"),
    "labels from 1": ({"y_train": np.arange(12) % 3 + 1}, r"no sample of class 0, although y_train\[2\] is 3"),
    "empty class": ({"y_train": np.arange(12) % 3 * 2}, r"no sample of class 1, although y_train\[2\] is 4"),
    "huge label": (
        {"y_train": with_value(np.arange(12) % 3, 7, 2**40)},
        r"no sample of class 3.*y_train\[7\] is 1099511627776",
    ),
    "unknown test label": ({"y_test": with_value(np.arange(6) % 3, 5, 9)}, r"y_test\[5\] is 9, but .* end at 2"),
    "negative test label": ({"y_test": with_value(np.arange(6) % 3, 1, -7)}, r"y_test\[1\] is -7"),
    "huge test label": (
        {"y_test": with_value((np.arange(6) % 3).astype("u8"), 4, 2**63 + 1)},
        rf"y_test\[4\] is {2**63 + 1}",
    ),
    "fewer labels": ({"y_train": np.arange(11) % 3}, r"y_train has shape \(11,\), expected \(12,\)"),
    "one-hot labels": ({"y_test": np.eye(6, 3)}, r"y_test has shape \(6, 3\), expected \(6,\)"),
    "one class": ({"y_train": np.zeros(12, dtype=int), "y_test": np.zeros(6, dtype=int)}, r"one class, '0'"),
    "channels last": ({"x_train": images((12, 8, 8, 3))}, r"looks like \[N, H, W, C\].*\n.*transpose\(0, 3, 1, 2\)"),
    "channel last": ({"x_train": images((12, 8, 8, 1))}, r"looks like \[N, H, W, C\]"),
    "whole numbers": ({"x_train": images((12, 5, 4), np.int64)}, r"x_train holds int64; expected uint8 or floats"),
    "one axis": ({"x_train": images((12,))}, r"x_train has shape \(12,\)"),
    "no images": ({"x_test": images((0, 5, 4)), "y_test": np.zeros(0, dtype=int)}, r"x_test has shape \(0, 5, 4\)"),
    "sizes differ": (
        {"x_test": images((6, 4, 4))},
        r"x_train holds uint8 images of shape \(1, 5, 4\), x_test .*\(1, 4, 4\)",
    ),
    "types differ": ({"x_test": images((6, 5, 4), np.float32)}, r"x_train holds uint8 .* x_test float32"),
    "text labels": ({"y_train": np.array(list("abc") * 4)}, r"y_train\[0\] is a \(<U1\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_names_what_is_wrong(save, case):
    changes, message = BAD[case]
    with pytest.raises(DataError, match=message) as error:
        read_array_file(save(**changes))
    assert str(error.value).count("\n") < 3


def test_unpickles_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    np.savez(tmp_path / "trap.npz", **arrays(x_train=np.array([Trap()] * 12)))
    with pytest.raises(DataError, match="x_train holds Python objects"):
        read_array_file(tmp_path / "trap.npz")
    assert not (tmp_path / "sprung").exists()


def write_npz(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header_of(shape):
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_refuses_an_array_that_would_fill_the_memory_before_reading_it(tmp_path):
    good = {name: npy(array) for name, array in arrays().items()}
    write_npz(tmp_path / "bomb.npz", **{**good, "x_train": header_of((10**6, 1000, 1000))})
    with pytest.raises(UnsafeError, match=r"bomb.npz claims 931\.3 GiB of images; at most 8 GiB"):
        read_array_file(tmp_path / "bomb.npz")


def test_header_that_promises_more_than_there_is(tmp_path):
    good = {name: npy(array) for name, array in arrays().items()}
    write_npz(tmp_path / "short.npz", **{**good, "x_train": header_of((12, 500, 500)) + b"\0" * 100})
    with pytest.raises(DataError, match="no readable"):
        read_array_file(tmp_path / "short.npz")


def test_an_encrypted_file(tmp_path):
    write_npz(tmp_path / "x.npz", **{name: npy(array) for name, array in arrays().items()})
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # bit 0 of the flags says so
        place = content.find(signature)
        while place >= 0:
            content[place + flags] |= 1
            place = content.find(signature, place + 1)
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x.npz is no readable .npz file: .*encrypted"):
        read_array_file(tmp_path / "x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_spoilt_file_of_any_compression(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        for name, array in arrays().items():
            archive.writestr(f"{name}.npy", npy(array))
        at = archive.getinfo("x_train.npy").header_offset
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[at + 80 : at + 140] = bytes(range(60))
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x.npz is no readable .npz file"):
        read_array_file(tmp_path / "x.npz")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and then nothing", b"\x93NUMPY"])
def test_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"x.npz is no readable .npz file"):
        read_array_file(tmp_path / "x.npz")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_cut_file(tmp_path, save, keep):
    content = save().read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match="no readable"):
        read_array_file(tmp_path / "cut.npz")


def test_altered_content_fails_its_checksum(tmp_path, save):
    content = bytearray(save().read_bytes())
    content[content.index(b"\x93NUMPY") + 140] ^= 0xFF
    (tmp_path / "altered.npz").write_bytes(content)
    with pytest.raises(DataError, match="no readable"):
        read_array_file(tmp_path / "altered.npz")
