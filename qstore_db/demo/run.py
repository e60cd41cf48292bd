"""The demonstration from end to end: `qstore demo`."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from qstore_db.database import QuantumDatabase
from qstore_db.demo import beyond, crash, showcase
from qstore_db.demo.contexts import rows, vectors
from qstore_db.demo.dataset import FashionMnist, load, sample
from qstore_db.demo.findings import Findings
from qstore_db.demo.projection import project
from qstore_db.demo.report import write_report
from qstore_db.demo.terminal import Terminal
from qstore_db.errors import ConfigurationError

_BATCH = 5_000


def run(out: Path, data: Path | None = None, *, quiet: bool = False) -> dict[str, Any]:
    """Run everything, write `out/report.html` beside `out/database`, and return what was found as JSON data.

    data: folder of the full Fashion-MNIST; None for the bundled sample. An earlier demo in `out` is replaced.
    Raises ConfigurationError where `out/database` is no database, or is open elsewhere.
    """
    started = time.perf_counter()
    tell = Terminal(quiet)
    images = sample() if data is None else load(data)
    directory = _fresh(out / "database")
    tell.begin(images.source, directory)
    with QuantumDatabase.connect(directory) as database:
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
        kills.append(crash.kill_a_writer(directory, round_))
        tell.kill(round_, kills[-1])
    with QuantumDatabase.connect(directory) as database:
        images_after = database.count()
    findings = Findings(
        images,
        imported,
        seconds,
        asked,
        tuple(answers),
        comparison,
        projection,
        walk,
        tuple(kills),
        images_after,
    )
    tell.after_kills(findings)
    report = write_report(findings, out / "report.html")
    total = time.perf_counter() - started
    tell.end(report, total)
    return findings.as_data(report, total)


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
    if not directory.exists():
        return directory
    if not (directory / "records").is_dir():
        raise ConfigurationError(
            f"{directory} is not the database of an earlier demo; name another directory by --out",
            subject=str(directory),
        )
    from qstore_db.engines.embedded.ownership import DirectoryLock

    lock = DirectoryLock(directory)  # nobody's open database is pulled away from under them
    shutil.rmtree(directory)
    lock.release()
    return directory
