"""The contexts of the demonstration and the records made of images."""

from __future__ import annotations

import numpy as np
import pytest

from qstore_db.demo.contexts import CONTEXTS, rows
from qstore_db.demo.dataset import CLASSES, sample


def test_every_class_has_contexts_that_add_up_to_one():
    assert tuple(CONTEXTS) == CLASSES
    for pairs in CONTEXTS.values():
        assert sum(weight for _, weight in pairs) == pytest.approx(1)


def test_an_ankle_boot_is_footwear_and_a_little_outdoor():
    assert CONTEXTS["Ankle boot"] == (("footwear", 0.7), ("outdoor", 0.3))


def test_rows_carry_class_brightness_and_ids_in_order():
    images = sample()
    made = rows(images.train_images[5:8], images.train_labels[5:8], 5)
    assert made.ids == ["train-00005", "train-00006", "train-00007"]
    assert made.vectors.dtype == np.float32
    assert made.vectors.max() <= 1
    for i, metadata in enumerate(made.metadata):
        assert metadata["class"] == CLASSES[images.train_labels[5 + i]]
        assert metadata["brightness"] == pytest.approx(made.vectors[i].mean(), abs=1e-4)
