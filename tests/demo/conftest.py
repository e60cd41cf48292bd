"""A demonstration that takes seconds: fewer images, queries and kills. All else of it is real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

SHORTER = """
import dataclasses
from qstore_db.demo import beyond, crash, dataset, run

whole = dataset.sample()
few = dataclasses.replace(whole, train_images=whole.train_images[:1_500], train_labels=whole.train_labels[:1_500])
values = [
    (run, "sample", lambda: few),
    (beyond, "QUERIES", 20),
    (crash, "ROUNDS", 1),
    (crash, "_ACKNOWLEDGEMENTS", (50, 100)),
    (crash, "_AFTERWARDS", 20),
]
"""


@pytest.fixture(scope="session")
def shorter_source() -> str:
    """Python source that lists, as `values`, what is different: for another process to set."""
    return SHORTER


@pytest.fixture(scope="module")
def shorter(shorter_source: str) -> Iterator[pytest.MonkeyPatch]:
    """The same in this process, for one module of tests."""
    namespace: dict[str, list[tuple[object, str, object]]] = {}
    exec(shorter_source, namespace)
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in namespace["values"]:
            patch.setattr(owner, name, value)
        yield patch
