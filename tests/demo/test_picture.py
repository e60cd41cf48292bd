"""Pictures written without a picture library."""

from __future__ import annotations

import base64
import io

import numpy as np
from matplotlib import image as reader

from qstore_db.demo.picture import data_uri, png


def test_a_png_holds_the_pixels_that_were_given():
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    read = reader.imread(io.BytesIO(png(pixels)), format="png")
    assert (np.round(read * 255).astype(np.uint8) == pixels).all()


def test_a_png_need_not_be_square():
    assert reader.imread(io.BytesIO(png(np.zeros((3, 7), np.uint8))), format="png").shape == (3, 7)


def test_a_data_uri_is_a_png_in_base64():
    kind, content = data_uri(np.zeros(784, np.uint8)).split(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content).startswith(b"\x89PNG")
