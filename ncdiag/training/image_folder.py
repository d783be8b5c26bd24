"""A data set in a folder: DIR/train/CLASS/image files and DIR/test/CLASS/image files."""

import struct
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from ncdiag.errors import DataError, UnsafeError
from ncdiag.training.arrays import ImageArrays, check_size

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_GREY, _COLOUR = ("L", "1"), ("RGB", "P")
# What Pillow raises on a damaged file, depending on its format; it has no common base.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_TOO_LARGE = (Image.DecompressionBombError, Image.DecompressionBombWarning)


def read_image_folder(folder: Path) -> ImageArrays:
    """Read all images of a folder as uint8 [N, C, H, W]; the classes are train's subfolders, sorted as text.

    Within a class, images are sorted by path; hidden files and other kinds of files are passed over. All images
    must have one size. Grey images stay grey (C = 1) unless some image has colour: then all have C = 3. Decoders of
    JPEG differ in the last bit, so the hash of the content may differ between two machines.

    Raises `DataError` naming the first offending file, or `UnsafeError` if the images would need too much memory.
    """
    for part in ("train", "test"):
        if not (folder / part).is_dir():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{folder} has no folder {part}/; it holds {found}.\n"
                "Expected train/CLASS/ and test/CLASS/ with image files in them"
            )
    train = _list_images(folder / "train")
    test = _list_images(folder / "test")
    class_names = tuple(train)
    for name, files in train.items():
        if not files:
            raise DataError(f"{folder / 'train' / name} holds no images ({', '.join(SUFFIXES)}); remove it or fill it")
    for name in test:
        if name not in train:
            raise DataError(f"{folder / 'test' / name} has no class of its name in train/, which has {_some(train)}")
    if not train or not any(test.values()):
        raise DataError(f"{folder / ('test' if train else 'train')} holds no class folders with images")
    train_files, y_train = _flatten(train, class_names)
    test_files, y_test = _flatten(test, class_names)
    pixels = _read_images([*train_files, *test_files])
    return ImageArrays(
        x_train=pixels[: len(train_files)],
        y_train=y_train,
        x_test=pixels[len(train_files) :],
        y_test=y_test,
        class_names=class_names,
    )


def _list_images(folder: Path) -> dict[str, list[Path]]:
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    return {
        c.name: sorted(p for p in c.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        for c in classes
    }


def _some(names: dict[str, list[Path]]) -> str:
    return ", ".join(list(names)[:8]) + (", ..." if len(names) > 8 else "")


def _flatten(classes: dict[str, list[Path]], class_names: tuple[str, ...]) -> tuple[list[Path], NDArray[np.int64]]:
    files = [(file, label) for label, name in enumerate(class_names) for file in classes.get(name, [])]
    return [file for file, _ in files], np.array([label for _, label in files], dtype=np.int64)


def _read_images(files: Sequence[Path]) -> NDArray[np.uint8]:
    """Decode files into uint8 [N, C, H, W]. A file is opened, checked and only then decoded."""
    pixels: NDArray[Any] = np.empty((0, 0, 0, 0), dtype=np.uint8)
    first: tuple[int, int] | None = None
    for place, file in enumerate(files):
        with _open(file) as image:
            if first is None:
                first = image.size
                check_size(str(files[0].parents[1]), len(files) * first[0] * first[1] * 3)
                pixels = np.empty((len(files), 1, first[1], first[0]), dtype=np.uint8)
            if image.size != first:
                raise DataError(
                    f"{file} has {image.width} x {image.height} pixels, {files[0]} has {first[0]} x {first[1]}.\n"
                    "All images must have one size: resize or remove it"
                )
            if image.mode in _COLOUR and pixels.shape[1] == 1:
                pixels = np.repeat(pixels, 3, axis=1)
            pixels[place] = _decode(image, file, "L" if pixels.shape[1] == 1 else "RGB")
    return pixels


def _open(file: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(file)
    except _TOO_LARGE as error:
        raise UnsafeError(f"{file} is too large an image to be decoded safely: {error}") from error
    except UnidentifiedImageError as error:
        raise DataError(f"the content of {file} is not an image; remove it or replace it") from error
    except _DAMAGED as error:
        raise DataError(f"{file} cannot be read as an image: {error}; remove it or replace it") from error


def _decode(image: Image.Image, file: Path, mode: str) -> NDArray[np.uint8]:
    """Give the pixels [C, H, W] of an opened image."""
    transparent = "transparency" in image.info
    if image.mode not in _GREY + _COLOUR or transparent:
        raise DataError(
            f"{file} is an image of mode {image.mode}{' with transparency' if transparent else ''}; "
            "expected 8-bit grey or RGB without transparency. Convert it"
        )
    try:
        array = np.asarray(image.convert(mode))
    except _DAMAGED as error:
        raise DataError(f"{file} cannot be decoded: {error}; remove it or replace it") from error
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
