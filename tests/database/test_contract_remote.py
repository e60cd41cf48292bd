"""The contract of the public interface over a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qstore_db.testing.databases import DatabaseContract, Opening
from qstore_db.testing.databases.serving import remote_async_databases, remote_databases


class TestRemote(DatabaseContract):
    @pytest.fixture
    def opening(self) -> Iterator[Opening]:
        with remote_databases() as opening:
            yield opening


class TestRemoteAsync(DatabaseContract):
    @pytest.fixture
    def opening(self) -> Iterator[Opening]:
        with remote_async_databases() as opening:
            yield opening
