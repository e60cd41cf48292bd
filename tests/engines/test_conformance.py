"""The embedded engine keeps every promise of the protocol, with its rows in one tail and in many segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qstore_db.engines.base import Engine
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.testing.engines import NOW, EngineConformance, Reopen


class TestEmbedded(EngineConformance):
    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Callable[[], EmbeddedEngine]]:
        engines: list[EmbeddedEngine] = []

        def opened() -> EmbeddedEngine:
            for engine in engines:
                engine.close()
            engines.append(EmbeddedEngine(tmp_path, durable=False, clock=lambda: NOW))
            return engines[-1]

        yield opened
        engines[-1].close()

    @pytest.fixture
    def engine(self, opened: Callable[[], EmbeddedEngine]) -> Engine:
        return opened()

    @pytest.fixture
    def reopen(self, opened: Callable[[], EmbeddedEngine]) -> Reopen:
        return opened


class TestEmbeddedInSmallSegments(TestEmbedded):
    @pytest.fixture(autouse=True)
    def _small(self, small_segments: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("qstore_db.engines.embedded.collection.TAIL_ROWS", 4)
