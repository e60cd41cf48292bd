"""Clothes in superposed contexts: what each class of Fashion-MNIST is worn for.

The weights are an invention, made from the label alone, so that the demonstration has contexts that anyone can
check by looking at a picture. Within a class all records carry the same ones.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.demo.dataset import CLASSES
from qstore_db.records.tabular import Rows

CONTEXTS: Final[dict[str, tuple[tuple[str, float], ...]]] = {
    "T-shirt/top": (("summer", 0.6), ("everyday", 0.4)),
    "Trouser": (("formal", 0.5), ("everyday", 0.5)),
    "Pullover": (("everyday", 0.6), ("outdoor", 0.4)),
    "Dress": (("formal", 0.6), ("summer", 0.4)),
    "Coat": (("outdoor", 0.8), ("formal", 0.2)),
    "Sandal": (("footwear", 0.7), ("summer", 0.3)),
    "Shirt": (("formal", 0.6), ("everyday", 0.4)),
    "Sneaker": (("footwear", 0.6), ("everyday", 0.4)),
    "Bag": (("everyday", 0.7), ("outdoor", 0.3)),
    "Ankle boot": (("footwear", 0.7), ("outdoor", 0.3)),
}
"""Context weights of each class; they add up to 1."""


def vectors(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 784) float32 grey values from 0 to 1."""
    return images.astype(np.float32) / np.float32(255)


def record_id(index: int) -> str:
    """The id of a training image."""
    return f"train-{index:05d}"


def rows(images: NDArray[np.uint8], labels: NDArray[np.uint8], first: int) -> Rows:
    """Training images as records, numbered from `first`. Metadata: class, label and mean brightness."""
    names = [CLASSES[label] for label in labels.tolist()]
    brightness = (images.mean(axis=1) / 255).round(4).tolist()
    metadata: list[dict[str, Any]] = [
        {"class": name, "label": label, "brightness": light}
        for name, label, light in zip(names, labels.tolist(), brightness, strict=True)
    ]
    return Rows(
        ids=[record_id(first + i) for i in range(len(labels))],
        vectors=vectors(images),
        contexts=[CONTEXTS[name] for name in names],
        metadata=metadata,
        expires_at=None,
    )
