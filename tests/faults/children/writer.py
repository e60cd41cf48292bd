"""Writes from several threads until it is killed. Arguments: directory, run number, threads, "small" or "usual"."""

from __future__ import annotations

import os
import random
import sys
import threading
import traceback

from qstore_db import QuantumDatabase
from qstore_db.engines.embedded import builder, chores, collection, engine, graph, janitor
from qstore_db.errors import CollectionExistsError
from qstore_db.testing.faults.ledger import DIMENSIONS, Step

SMALL = (
    (collection, "TAIL_ROWS", 64),
    (builder, "MAX_SEGMENT_ROWS", 2_000),
    (graph, "_CHUNK", 16),
    (engine, "SEAL_ROWS", 16),
    (chores, "QUIET_SECONDS", 0.01),
    (chores, "SAVE_SECONDS", 0.01),
    (chores, "SAVE_OPS", 50),
    (chores, "PURGE_BATCH", 20),
    (chores, "RETAIN_SECONDS", 0.01),
    (janitor, "PERIOD", 0.002),
)
"""So that sealing, building, saving, purging and trimming are always under way."""


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: lines of several threads never mix


def write(db: QuantumDatabase, run: int, writer: int) -> None:
    rng = random.Random(f"{run}/{writer}")
    name = Step(writer, 0, "delete", ()).collection
    present = {record.id for record in db.scroll(filter={"writer": writer}, limit=100_000, collection=name)}
    number = run * 1_000_000
    while True:
        number += 1
        step = Step.choose(writer, number, present, rng)
        say(step.announced())
        say(step.acknowledged(step.run(db)))
        if step.kind.startswith("delete"):
            present.difference_update(step.ids)
        else:
            present.update(step.ids)


def fail(args: threading.ExceptHookArgs) -> None:
    """A writer that fails ends the process, so that whoever started it hears of it."""
    traceback.print_exception(args.exc_value)
    os._exit(1)


def main() -> None:
    threading.excepthook = fail
    directory, run, writers, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    if size == "small":
        for module, name, value in SMALL:
            getattr(module, name)  # a constant of another name must not be made up here
            setattr(module, name, value)
    db = QuantumDatabase.connect(directory)
    for name, dimension in DIMENSIONS.items():
        try:
            db.create_collection(name, dimension=dimension, index="hnsw")
        except CollectionExistsError:
            continue
    threads = [threading.Thread(target=write, args=(db, run, writer)) for writer in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
