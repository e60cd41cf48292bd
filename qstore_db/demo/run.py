"""The demonstration from end to end: `qstore demo`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qstore_db.database import QuantumDatabase
from qstore_db.demo import beyond, crash, showcase
from qstore_db.demo.contexts import rows, vectors
from qstore_db.demo.dataset import FashionMnist, load, sample
from qstore_db.demo.findings import Findings
from qstore_db.demo.projection import project
from qstore_db.demo.report import write_report
from qstore_db.demo.serving import ServerProcess, interruptible
from qstore_db.demo.terminal import Terminal
from qstore_db.engines.embedded.directory import check_new, is_database

_BATCH = 5_000
_TIMEOUT = 60.0
_RETRIES = 30
"""Enough for the seconds in which a killed server is started again."""


@contextmanager
def demonstration(
    out: Path, data: Path | None = None, *, quiet: bool = False
) -> Iterator[tuple[dict[str, Any], ServerProcess]]:
    """Run everything, write `out/report.html` beside `out/database`, and give what was found as JSON data.

    With it comes the server that all was done with, through a client; it serves until the end of the `with` block.
    data: folder of the full Fashion-MNIST; None for the bundled sample. An earlier demo in `out` is replaced.
    Raises ConfigurationError where `out/database` is no database, or is open elsewhere, or where the server cannot
    start. For the main thread.
    """
    started = time.perf_counter()
    tell = Terminal(quiet)
    images = sample() if data is None else load(data)
    directory = _fresh(out / "database")
    tell.begin(images.source, directory)
    starting = time.perf_counter()
    with interruptible(), ServerProcess(directory, out / "server.log") as server:
        tell.serving(server, time.perf_counter() - starting)
        with QuantumDatabase.connect(
            server.url, token=server.token, tls=server.certificate, timeout=_TIMEOUT, retries=_RETRIES
        ) as database:
            findings = _find(images, server, database, tell)
        tell.after_kills(findings)
        report = write_report(findings, out / "report.html")
        total = time.perf_counter() - started
        tell.end(report, total)
        yield findings.as_data(report, total), server


def _find(images: FashionMnist, server: ServerProcess, database: QuantumDatabase, tell: Terminal) -> Findings:
    """Everything that is measured and seen, through a client of the server."""
    seconds = _import(database, images, tell)
    asked = showcase.query_image(images)
    answers = showcase.ask(database, images.test_images[asked])
    tell.answers(answers)
    chosen = beyond.choose(images)
    with tell.progress("measuring", len(chosen)) as advance:
        comparison = beyond.compare(database, images, chosen, lambda _elapsed: advance(1))
    tell.comparison(comparison)
    case = comparison.examples()[0][1]
    vector = vectors(images.test_images[case.image][None])[0]
    projection = project(database, case, vector)
    walk = beyond.walk(database, vector)
    imported = database.count()
    kills: list[crash.Kill] = []
    for round_ in range(crash.ROUNDS):
        kills.append(crash.kill_the_server(server, database, round_))
        tell.kill(round_, kills[-1])
    return Findings(
        images,
        imported,
        seconds,
        asked,
        tuple(answers),
        comparison,
        projection,
        walk,
        tuple(kills),
        database.count(),
    )


def _import(database: QuantumDatabase, images: FashionMnist, tell: Terminal) -> float:
    """Store the training images; the seconds until the last one was durable."""
    count = len(images.train_labels)
    started = time.perf_counter()
    with tell.progress("importing", count) as advance:
        for start in range(0, count, _BATCH):
            part = slice(start, start + _BATCH)
            batch = rows(images.train_images[part], images.train_labels[part], start)
            database.insert_many(
                ids=batch.ids,
                vectors=batch.vectors,
                contexts=batch.contexts,
                metadata=batch.metadata,
                progress=False,
            )
            advance(len(batch))
    seconds = time.perf_counter() - started
    tell.imported(count, seconds)
    database.wait_indexed()
    return seconds


def _fresh(directory: Path) -> Path:
    """A place for a new database; that of an earlier demo is removed, anything else is left alone."""
    if not is_database(directory):
        check_new(directory)
        return directory
    from qstore_db.engines.embedded.ownership import DirectoryLock

    lock = DirectoryLock(directory)  # nobody's open database is pulled away from under them
    shutil.rmtree(directory)
    lock.release()
    return directory
