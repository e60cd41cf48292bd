"""Fashion-MNIST: 28x28 grey images of ten kinds of clothing, by Zalando SE (MIT licence).

The full set has 60,000 training and 10,000 test images in four idx files. A sample of 6,000 + 1,000, all
classes equally often, comes with the package in the same format, so that everything runs without a download.
"""

from __future__ import annotations

import gzip
import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from qstore_db.errors import ConfigurationError

CLASSES: Final = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
"""The name of each label, 0 to 9."""

SIDE: Final = 28
"""Pixels along one side of an image."""

DEBIAN: Final = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts the full set."""

SAMPLE: Final = Path(__file__).with_name("data")

_UNSIGNED_BYTE: Final = 8  # the idx format's code of the only element type in this data set


@dataclass(frozen=True, slots=True, eq=False)
class FashionMnist:
    """Images and labels, read-only. An image is a row of 784 grey values, row by row from the top left."""

    train_images: npt.NDArray[np.uint8]
    """(n, 784) uint8, 0 (background) to 255."""

    train_labels: npt.NDArray[np.uint8]
    """(n,) uint8, 0 to 9: an index into CLASSES."""

    test_images: npt.NDArray[np.uint8]
    """(m, 784) uint8."""

    test_labels: npt.NDArray[np.uint8]
    """(m,) uint8."""

    source: str
    """Which set this is, in words for the user."""


def load(data: Path | None = None) -> FashionMnist:
    """The fullest Fashion-MNIST at hand; `source` says which.

    The first of these that applies is read, and nothing else: the folder `data`; the folder that the
    environment variable QSTORE_DATA names; the folder of Debian's package `dataset-fashion-mnist`, if it is
    installed; the bundled sample. A folder holds the four idx files under their published names, gzipped or
    not.

    Raises ConfigurationError, with the file as its subject, where the chosen folder lacks a file or holds a
    malformed one: a folder that was asked for is never silently replaced by the sample.
    """
    if data is not None:
        return _read_folder(data, f"Fashion-MNIST in {data}")
    if named := os.environ.get("QSTORE_DATA"):
        return _read_folder(Path(named), f"Fashion-MNIST in {named} ($QSTORE_DATA)")
    if DEBIAN.is_dir():
        return _read_folder(DEBIAN, f"Fashion-MNIST in {DEBIAN} (Debian's dataset-fashion-mnist)")
    return sample()


def sample() -> FashionMnist:
    """The bundled 6,000 training and 1,000 test images, 600 and 100 of each class."""
    return _read_folder(SAMPLE, "the bundled sample of Fashion-MNIST (6,000 + 1,000 images)")


def _read_folder(folder: Path, source: str) -> FashionMnist:
    train_images, train_labels = _read_part(folder, "train")
    test_images, test_labels = _read_part(folder, "t10k")
    return FashionMnist(train_images, train_labels, test_images, test_labels, source)


def _read_part(folder: Path, part: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    image_file = _find(folder, f"{part}-images-idx3-ubyte")
    label_file = _find(folder, f"{part}-labels-idx1-ubyte")
    images = _read_idx(image_file, 3)
    labels = _read_idx(label_file, 1)
    if images.shape[1:] != (SIDE, SIDE):
        raise _malformed(image_file, f"its images are {images.shape[1]}x{images.shape[2]}, not {SIDE}x{SIDE}")
    if len(labels) != len(images):
        raise _malformed(label_file, f"it has {len(labels)} labels for {len(images)} images")
    if labels.size and labels.max() >= len(CLASSES):
        raise _malformed(
            label_file, f"it has a label {labels.max()}, and the last class is {len(CLASSES) - 1}"
        )
    return images.reshape(len(images), SIDE * SIDE), labels


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise ConfigurationError(
        f"no {name}.gz in {folder}: name a folder with the four Fashion-MNIST files, or none for the sample",
        subject=str(folder / f"{name}.gz"),
    )


def _read_idx(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """The array of an idx file: two zero bytes, element type, number of axes, lengths as big-endian u32."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise _malformed(path, f"it cannot be read ({error})") from error
    header = 4 + 4 * axes
    if len(content) < header or content[:4] != bytes((0, 0, _UNSIGNED_BYTE, axes)):
        raise _malformed(path, f"it does not start like an idx file of unsigned bytes with {axes} axes")
    shape = [int(length) for length in np.frombuffer(content, ">u4", axes, offset=4)]
    if len(content) - header != math.prod(shape):
        raise _malformed(
            path, f"it holds {len(content) - header} values, and its header says {math.prod(shape)}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _malformed(path: Path, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path} is not a file of Fashion-MNIST: {why}; fetch it again", subject=str(path)
    )
