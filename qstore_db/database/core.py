"""What a database is, without the question who waits how: `QuantumDatabase` and its async twin both drive it.

A `Core` owns the engine and everything that reads, writes and measures through it.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qstore_db.config import DatabaseConfig
from qstore_db.database.arguments import check_name, check_spec
from qstore_db.database.backup import backup
from qstore_db.database.groups import GroupCalls
from qstore_db.database.reads import Reads
from qstore_db.database.scales import Scales
from qstore_db.database.watching import WatchCalls
from qstore_db.database.writes import Writes
from qstore_db.errors import ConfigurationError

if TYPE_CHECKING:
    from qstore_db.engines.embedded.engine import EmbeddedEngine


class Core:
    """One open database. Safe to use from many threads."""

    def __init__(self, config: DatabaseConfig, clock: Callable[[], float] = time.time) -> None:
        if not isinstance(config, DatabaseConfig):
            raise ConfigurationError(
                f"{config!r} is no DatabaseConfig; QuantumDatabase.connect takes a directory",
                subject="config",
            )
        if config.engine != "embedded":
            raise ConfigurationError(
                f"engine={str(config.engine)!r} is not part of this release; set engine='embedded'",
                subject="engine",
            )
        # Not before a database is opened: the engine loads LMDB and FAISS.
        from qstore_db.engines.embedded.engine import EmbeddedEngine

        self.config = config
        temporary = config.directory is None
        self.directory = config.directory or Path(tempfile.mkdtemp(prefix="qstore-"))
        with contextlib.ExitStack() as undo:
            if temporary:
                undo.callback(shutil.rmtree, self.directory, ignore_errors=True)
            self.engine: EmbeddedEngine = EmbeddedEngine(
                self.directory, durable=not temporary, build_threads=config.build_threads, clock=clock
            )
            undo.pop_all()
        # Also at the end of the program, for those who never call close.
        self.close = weakref.finalize(self, _close, self.engine, self.directory if temporary else None)
        self.scales = Scales(self.engine, clock)
        self.reads = Reads(self.engine, self.scales, config, clock)
        self.groups = GroupCalls(self.engine, config)
        self.watches = WatchCalls(self.engine)
        self.writes = Writes(self.engine, self.scales, config, clock)

    def create_collection(
        self, name: str, dimension: int, metric: str, index: str, storage: str, target_recall: float
    ) -> None:
        self.writes.create(check_spec(name, dimension, metric, index, storage, target_recall))

    def rename_collection(self, old: str, new: str) -> None:
        self.engine.rename_collection(old, check_name(new))
        self.scales.rename(old, new)

    def drop_collection(self, name: str) -> None:
        self.engine.drop_collection(name)
        self.scales.drop(name)

    def reindex(self, name: str, index: str | None, storage: str | None) -> None:
        spec = self.engine.view(name).spec
        wanted = check_spec(
            name,
            spec.dimension,
            spec.metric,
            spec.index if index is None else index,
            spec.storage if storage is None else storage,
            spec.target_recall,
        )
        self.engine.reindex(name, index=wanted.index, storage=wanted.storage)

    def collections(self) -> list[str]:
        return [spec.name for spec in self.engine.collections()]

    def stats(self) -> dict[str, Any]:
        statistics = self.engine.statistics()
        for name, collection in statistics["collections"].items():
            spec, recovery = self.engine.view(name).spec, self.engine.recoveries.get(name)
            collection["scale"] = self.scales.of(self.engine.view(name)).as_data()
            collection["spec"] = {**asdict(spec), "metric": spec.metric.value}
            collection["recovery"] = None if recovery is None else asdict(recovery)
        return {"directory": str(self.directory), **statistics}

    def backup(self, dest: str | Path) -> Path:
        return backup(self.engine, Path(dest))

    def verify(self) -> dict[str, Any]:
        return asdict(self.engine.verify())


def _close(engine: EmbeddedEngine, remove: Path | None) -> None:
    engine.close()
    if remove is not None:
        shutil.rmtree(remove, ignore_errors=True)
