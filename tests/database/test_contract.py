"""The contract of the public interface over the faces that exist."""

from __future__ import annotations

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
