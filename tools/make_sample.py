"""Draws the bundled sample of Fashion-MNIST from the full set: `python tools/make_sample.py FOLDER`.

FOLDER holds the four idx files of the full set. The sample has every class equally often, keeps the order of
the full set, and is the same, byte for byte, on every run with the same zlib.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from qstore_db.demo import dataset

SEED = 20170828
PER_CLASS = {"train": 600, "t10k": 100}


def draw(labels: npt.NDArray[np.uint8], count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Positions of `count` items of each class, ascending."""
    classes = range(len(dataset.CLASSES))
    return np.sort(
        np.concatenate([rng.choice(np.flatnonzero(labels == c), count, replace=False) for c in classes])
    )


def write_idx(path: Path, values: npt.NDArray[np.uint8]) -> None:
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.tobytes(), compresslevel=9, mtime=0))


def main(folder: Path, target: Path = dataset.SAMPLE) -> None:
    full = dataset.load(folder)
    rng = np.random.default_rng(SEED)
    parts = {"train": (full.train_images, full.train_labels), "t10k": (full.test_images, full.test_labels)}
    for part, (images, labels) in parts.items():
        chosen = draw(labels, PER_CLASS[part], rng)
        write_idx(
            target / f"{part}-images-idx3-ubyte.gz", images[chosen].reshape(-1, dataset.SIDE, dataset.SIDE)
        )
        write_idx(target / f"{part}-labels-idx1-ubyte.gz", labels[chosen])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
