"""The contract of the public interface over the faces that exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from qstore_db.testing.databases import DatabaseContract, Opening, async_databases, sync_databases


class TestSync(DatabaseContract):
    @pytest.fixture
    def opening(self) -> Iterator[Opening]:
        with sync_databases() as opening:
            yield opening


class TestAsync(DatabaseContract):
    @pytest.fixture
    def opening(self) -> Iterator[Opening]:
        with async_databases() as opening:
            yield opening


def test_no_part_of_the_suite_hides_a_test_of_another() -> None:
    names = Counter(
        name for part in DatabaseContract.__bases__ for name in vars(part) if name.startswith("test")
    )
    assert [name for name, count in names.items() if count > 1] == []
