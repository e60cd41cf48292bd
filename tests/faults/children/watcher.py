"""Writes from some threads and follows its own changes until it is killed. Arguments: directory, sequence, run.

Says a line `[sequence, id, n]` for each change once it was told, n null for a record that is gone.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np

from qstore_db.engines.base import Delete, DeleteWhere, Put, Selection, Write
from qstore_db.engines.embedded import chores, collection, engine, graph, janitor
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.records import parse_filter

SMALL = (
    (collection, "TAIL_ROWS", 64),
    (graph, "_CHUNK", 16),
    (engine, "SEAL_ROWS", 16),
    (chores, "QUIET_SECONDS", 0.01),
    (chores, "SAVE_SECONDS", 0.01),
    (chores, "SAVE_OPS", 50),
    (chores, "PURGE_BATCH", 20),
    (janitor, "PERIOD", 0.002),
)
"""So that expiring, saving and purging are always under way."""
WRITERS = 3


def write(db: EmbeddedEngine, run: int, writer: int) -> None:
    rng = random.Random(f"{run}/{writer}")
    n = 0
    while True:
        n += 1
        some = [f"{writer}-{i}" for i in rng.sample(range(40), rng.randint(1, 5))]
        kind = rng.choice(["put", "put", "put", "brief", "delete", "where"])
        batch: list[Write]
        if kind == "where":
            old = parse_filter({"n": {"$lt": n - 20}})
            batch = [DeleteWhere(Selection(old, now=time.time()))]
        elif kind == "delete":
            batch = [Delete(id) for id in some]
        else:
            end = time.time() + 0.02 if kind == "brief" else None
            values = np.array([1.0, n], np.float32)
            batch = [Put(id, values, metadata={"n": n}, expires_at=end) for id in some]
        db.write("c", batch).result()


def fail(args: threading.ExceptHookArgs) -> None:
    """A writer that fails ends the process, so that whoever started it hears of it."""
    traceback.print_exception(args.exc_value)
    os._exit(1)


def main() -> None:
    threading.excepthook = fail
    directory, since, run = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    for module, name, value in SMALL:
        getattr(module, name)  # a constant of another name must not be made up here
        setattr(module, name, value)
    db = EmbeddedEngine(Path(directory))
    feed = db.feed("c", since)
    for writer in range(WRITERS):
        threading.Thread(target=write, args=(db, run, writer), daemon=True).start()
    while True:
        feed.wait()
        for change in feed.next(20):
            n = None if change.record is None else change.record.metadata["n"]
            os.write(1, f"{json.dumps([change.sequence, change.id, n])}\n".encode())


main()
