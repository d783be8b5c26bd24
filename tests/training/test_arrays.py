import hashlib

import numpy as np
import pytest

from ncdiag.errors import DataError, UnsafeError
from ncdiag.training.arrays import MAX_BYTES, ImageArrays, check_size

RNG = np.random.default_rng(0)


def arrays(dtype=np.uint8, **changes):
    whole = {
        "x_train": RNG.integers(0, 256, (7, 3, 5, 4)).astype(dtype),
        "y_train": np.arange(7) % 2,
        "x_test": RNG.integers(0, 256, (3, 3, 5, 4)).astype(dtype),
        "y_test": np.arange(3) % 2,
        "class_names": ("a", "b"),
    }
    return ImageArrays(**{**whole, **changes})


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_hash_is_the_documented_one(dtype):
    data = arrays(dtype)
    text = b"x_train %s 7,3,5,4\n" % dtype.encode() + data.x_train.tobytes()
    text += b"y_train int64 7\n" + data.y_train.tobytes()  # this machine is little-endian
    text += b"x_test %s 3,3,5,4\n" % dtype.encode() + data.x_test.tobytes()
    text += b"y_test int64 3\n" + data.y_test.tobytes()
    assert data.sha256 == hashlib.sha256(text).hexdigest()


def test_hash_sees_every_part_and_no_layout():
    data = arrays()
    parts = {name: getattr(data, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    turned = np.asfortranarray(parts["x_train"])
    assert arrays(**{**parts, "x_train": turned}).sha256 == data.sha256
    swapped = {name: part.astype(part.dtype.newbyteorder(">")) for name, part in parts.items()}
    assert arrays(**swapped).sha256 == data.sha256
    others = {
        "x_train": parts["x_train"] ^ 1,
        "y_train": 1 - parts["y_train"],
        "x_test": parts["x_test"].reshape(3, 3, 4, 5),
        "y_test": 1 - parts["y_test"],
    }
    hashes = {arrays(**{**parts, name: other}).sha256 for name, other in others.items()}
    assert len(hashes | {data.sha256}) == 5


@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("float32", 1)])
@pytest.mark.parametrize("block", [1, 100, 10**6])
def test_channel_statistics_are_over_all_training_pixels(monkeypatch, dtype, scale, block):
    monkeypatch.setattr("ncdiag.training.arrays._BLOCK", block)
    data = arrays(dtype)
    pixels = data.x_train.astype(np.float64) / scale
    mean, std = data.channel_statistics
    np.testing.assert_allclose(mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=(0, 2, 3)), rtol=1e-12)


@pytest.mark.parametrize("value", [51, 127, 240])  # 140 times 127/255, divided by 140, is not 127/255 in float64
@pytest.mark.parametrize(("dtype", "scale"), [("uint8", 255), ("float32", 1)])
def test_constant_channel_gets_the_deviation_one(dtype, scale, value):
    x_train = arrays(dtype).x_train
    x_train[:, 1] = value
    mean, std = arrays(x_train=x_train).channel_statistics
    assert mean[1] == pytest.approx(value / scale)
    assert std[1] == 1.0
    assert std[0] != 1.0


def test_one_class_is_no_classification():
    with pytest.raises(DataError, match="one class, 'only'"):
        arrays(class_names=("only",))


def test_size_limit():
    check_size("x", MAX_BYTES)
    with pytest.raises(UnsafeError, match=r"x claims 8\.0 GiB of images; at most 8 GiB") as error:
        check_size("x", MAX_BYTES + 1)
    assert error.value.exit_code == 6
