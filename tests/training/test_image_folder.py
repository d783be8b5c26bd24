import numpy as np
import pytest
from PIL import Image

from ncdiag.errors import DataError, UnsafeError
from ncdiag.training import arrays
from ncdiag.training.image_folder import read_image_folder

RNG = np.random.default_rng(0)


def grey(size=(6, 5)):
    return RNG.integers(0, 256, (size[1], size[0]), dtype=np.uint8)


def colour(size=(6, 5)):
    return RNG.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def put(folder, pixels_by_file):
    for name, pixels in pixels_by_file.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    put(tmp_path, {name: grey() for name in GOOD})
    return tmp_path


GOOD = ("train/cat/1.png", "train/cat/2.png", "train/ant/1.png", "test/ant/1.png", "test/cat/1.png")


def test_reads_grey_images_in_the_order_of_class_and_path(tmp_path):
    pixels = {
        "train/cat/10.png": grey(),
        "train/cat/9.bmp": grey(),
        "train/ant/deeper/x.PNG": grey(),
        "test/cat/b.png": grey(),
        "test/ant/a.png": grey(),
    }
    put(tmp_path, pixels)
    (tmp_path / "train/cat/notes.txt").write_text("not an image")
    (tmp_path / "train/cat/._9.png").write_text("left by a file manager")
    (tmp_path / "train/.hidden").mkdir()
    data = read_image_folder(tmp_path)
    assert data.class_names == ("ant", "cat")
    assert data.y_train.tolist() == [0, 1, 1]
    assert data.y_test.tolist() == [0, 1]
    train = [pixels[name] for name in ("train/ant/deeper/x.PNG", "train/cat/10.png", "train/cat/9.bmp")]
    np.testing.assert_array_equal(data.x_train, np.stack(train)[:, None])
    np.testing.assert_array_equal(data.x_test, np.stack([pixels["test/ant/a.png"], pixels["test/cat/b.png"]])[:, None])


def test_reads_colour_images_channels_first(tmp_path):
    pixels = {name: colour() for name in GOOD}
    put(tmp_path, pixels)
    data = read_image_folder(tmp_path)
    assert data.x_train.shape == (3, 3, 5, 6)
    np.testing.assert_array_equal(data.x_train[1], pixels["train/cat/1.png"].transpose(2, 0, 1))


@pytest.mark.parametrize("coloured", GOOD)
def test_one_image_with_colour_makes_all_of_them_colour(tmp_path, coloured):
    pixels = {name: colour() if name == coloured else grey() for name in GOOD}
    put(tmp_path, pixels)
    data = read_image_folder(tmp_path)
    order = ("train/ant/1.png", "train/cat/1.png", "train/cat/2.png", "test/ant/1.png", "test/cat/1.png")
    for image, name in zip([*data.x_train, *data.x_test], order, strict=True):
        expected = pixels[name] if name == coloured else np.stack([pixels[name]] * 3, axis=2)
        np.testing.assert_array_equal(image, expected.transpose(2, 0, 1))


def test_black_and_white_and_palette_images_are_grey_and_colour(folder):
    Image.fromarray(np.eye(5, 6) > 0).save(folder / "train/ant/1.png")
    with Image.open(folder / "train/ant/1.png") as image:
        assert image.mode == "1"
    np.testing.assert_array_equal(read_image_folder(folder).x_train[0, 0], np.eye(5, 6) * 255)
    Image.fromarray(colour()).quantize(4).save(folder / "train/ant/1.png")
    assert read_image_folder(folder).x_train.shape == (3, 3, 5, 6)


def test_a_class_may_be_missing_from_the_test_set(folder):
    (folder / "test/cat/1.png").unlink()
    assert read_image_folder(folder).y_test.tolist() == [0]
    (folder / "test/cat").rmdir()
    assert read_image_folder(folder).y_test.tolist() == [0]


def test_content_and_not_the_file_names_decide_the_hash(folder):
    before = read_image_folder(folder).sha256
    (folder / "train/cat/1.png").rename(folder / "train/cat/1b.png")
    with Image.open(folder / "train/cat/2.png") as image:
        image.save(folder / "train/cat/2.bmp")
    (folder / "train/cat/2.png").unlink()
    assert read_image_folder(folder).sha256 == before
    put(folder, {"train/cat/2.bmp": grey()})
    assert read_image_folder(folder).sha256 != before


def remove(path):
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def rename_test(folder):
    (folder / "test").rename(folder / "val")


def rename_train(folder):
    (folder / "train").rename(folder / "training")


def empty_class(folder):
    (folder / "train/bee").mkdir()


def only_other_files(folder):
    (folder / "train/bee").mkdir()
    (folder / "train/bee/a.npy").write_bytes(b"")


def unknown_test_class(folder):
    put(folder, {"test/dog/1.png": grey()})


def no_test_images(folder):
    for file in (folder / "test").rglob("*.png"):
        file.unlink()


def no_classes(folder):
    (folder / "train").rename(folder / "old")
    (folder / "train").mkdir()
    remove(folder / "test/ant")
    remove(folder / "test/cat")


def one_class(folder):
    remove(folder / "train/cat")
    remove(folder / "test/cat")


def not_an_image(folder):
    (folder / "train/cat/2.png").write_text("hello")


def cut_image(folder):
    put(folder, {"train/cat/2.png": grey((60, 50))})
    path = folder / "train/cat/2.png"
    path.write_bytes(path.read_bytes()[:1000])
    for other in GOOD:
        if other != "train/cat/2.png":
            put(folder, {other: grey((60, 50))})


def empty_file(folder):
    (folder / "test/ant/1.png").write_bytes(b"")


def other_size(folder):
    put(folder, {"train/cat/2.png": grey((7, 5))})


def transparent(folder):
    Image.new("RGBA", (6, 5)).save(folder / "test/cat/1.png")


def transparent_palette(folder):
    Image.fromarray(colour()).quantize(4).save(folder / "test/cat/1.png", transparency=0)


def sixteen_bits(folder):
    Image.fromarray(grey().astype(np.uint16)).save(folder / "test/cat/1.png")


def dangling_link(folder):
    (folder / "train/cat/3.png").symlink_to(folder / "nowhere.png")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename_test, r"has no folder test/; it holds train, val"),
        (rename_train, r"has no folder train/; it holds test, training"),
        (empty_class, r"train/bee holds no images"),
        (only_other_files, r"train/bee holds no images"),
        (unknown_test_class, r"test/dog has no class of its name in train/, which has ant, cat$"),
        (no_test_images, r"test holds no class folders with images"),
        (no_classes, r"train holds no class folders"),
        (one_class, r"one class, 'ant'"),
        (not_an_image, r"content of .*train/cat/2.png is not an image"),
        (cut_image, r"train/cat/2.png cannot be decoded"),
        (empty_file, r"content of .*test/ant/1.png is not an image"),
        (other_size, r"train/cat/2.png has 7 x 5 pixels, .*train/ant/1.png has 6 x 5"),
        (transparent, r"test/cat/1.png is an image of mode RGBA; expected 8-bit grey or RGB without transparency"),
        (transparent_palette, r"test/cat/1.png is an image of mode P with transparency"),
        (sixteen_bits, r"test/cat/1.png is an image of mode I"),
        (dangling_link, r"train/cat/3.png cannot be read"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_what_is_wrong(folder, damage, message):
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        read_image_folder(folder)
    assert str(error.value).count("\n") < 3


def test_refuses_images_that_would_fill_the_memory_before_decoding(folder, monkeypatch):
    monkeypatch.setattr(arrays, "MAX_BYTES", 5 * 3 * 6 * 5 - 1)
    with pytest.raises(UnsafeError, match="of images; at most"):
        read_image_folder(folder)
    monkeypatch.setattr(arrays, "MAX_BYTES", 5 * 3 * 6 * 5)
    assert len(read_image_folder(folder).x_train) == 3


def test_refuses_a_decompression_bomb(folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 29)
    with pytest.raises(UnsafeError, match="too large an image"):
        read_image_folder(folder)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UnsafeError, match="too large an image"):
        read_image_folder(folder)
