"""Pictures without a picture library: grey images as PNG data URIs."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from qstore_db.demo.dataset import SIDE

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY = 0


def png(pixels: NDArray[np.uint8]) -> bytes:
    """A grey PNG (8 bits a pixel) of a (height, width) uint8 image. Source: the PNG specification, W3C."""
    height, width = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY, 0, 0, 0)
    # Each row is preceded by the number of its filter; 0 leaves it as it is.
    rows = np.zeros((height, width + 1), np.uint8)
    rows[:, 1:] = pixels
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9))
        + _chunk(b"IEND", b"")
    )


def data_uri(image: NDArray[np.uint8]) -> str:
    """A (784,) uint8 image of the data set as the source of an `<img>`."""
    return "data:image/png;base64," + base64.b64encode(png(image.reshape(SIDE, SIDE))).decode()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
