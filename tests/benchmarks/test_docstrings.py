"""The docstrings of the standard library, as a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.docstrings import CHAPTERS, LEAST_DOCUMENTS, chapter_of, docstrings
from benchmarks.harness import Options

QUICK = Options(quick=True, data=None, scratch=Path())


def test_vectors_are_of_unit_length_and_every_label_has_enough_of_them() -> None:
    data = docstrings(QUICK, 10)
    assert np.allclose(np.linalg.norm(data.base, axis=1), 1.0, atol=1e-6)
    assert np.bincount(np.concatenate([data.labels, data.query_labels])).min() >= LEAST_DOCUMENTS - 5


def test_held_out_queries_are_not_in_the_base() -> None:
    data = docstrings(QUICK, 10)
    nearest = (data.queries @ data.base.T).max(axis=1)
    assert len(data.queries) == 10
    assert np.median(nearest) < 0.999


def test_near_documents_are_of_one_module_more_often_than_chance() -> None:
    data = docstrings(QUICK, 50)
    near = np.argsort(-(data.queries @ data.base.T), axis=1)[:, :10]
    share = (data.labels[near] == data.query_labels[:, None]).mean()
    chance = np.square(np.bincount(data.labels) / len(data)).sum()
    assert share > chance + 0.2


def test_every_label_has_a_chapter() -> None:
    data = docstrings(QUICK, 10)
    chapters = chapter_of(QUICK)
    assert len(chapters) == data.labels.max() + 1
    assert chapters.max() <= len(CHAPTERS)


@pytest.mark.parametrize("module", [module for modules in CHAPTERS.values() for module in modules])
def test_a_module_is_in_one_chapter(module: str) -> None:
    assert sum(module in modules for modules in CHAPTERS.values()) == 1
