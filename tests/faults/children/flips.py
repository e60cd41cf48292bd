"""Flips bits of a database and says what came of each. Arguments: a database, a scratch directory, a mode, and a
file of the database with the indices of the bits to flip.

Prints one JSON line a flip: [bit, outcome]. Modes: "verify" asks `check_directory` about the file, "read" opens
the database and reads all of it. Every flip has a process of its own, since a damaged LMDB page may end it.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from qstore_db import QuantumDatabase
from qstore_db.engines.embedded.verify import check_directory
from qstore_db.errors import QStoreError
from qstore_db.testing.faults import flip_bit

HARMLESS, FOUND, SILENT, CRASHED = "harmless", "found", "silent", "crashed"


def content(db: QuantumDatabase) -> object:
    """All that a user can read, with the vectors bit for bit."""
    collections = {}
    for name in db.list_collections():
        records = db.scroll(limit=100_000, collection=name).records
        vectors = np.stack([record.vector for record in records])
        collections[name] = (
            [
                (r.id, r.vector.tobytes(), r.raw_contexts, json.dumps(r.metadata), r.version, r.expires_at)
                for r in records
            ],
            [r is not None and r.vector.tobytes() for r in db.get([r.id for r in records], collection=name)],
            [
                [(m.id, m.distance, json.dumps(dict(m.metadata))) for m in result]
                for result in db.query_batch(vectors[:3], top_k=5, collection=name)
            ],
            [m.id for m in db.query(vectors[0], context="even", scale=1.0, collection=name)],
            db.count({"tags": "a"}, collection=name),
        )
    return collections


def read(directory: Path) -> object:
    with QuantumDatabase.connect(directory) as db:
        return content(db)


def write_more(directory: Path) -> object:
    """What is there after further writes took free pages; what they wrote is taken away again."""
    more = [f"more-{i}" for i in range(20)]
    with QuantumDatabase.connect(directory) as db:
        for name in db.list_collections():
            (record, *_) = db.scroll(limit=1, collection=name)
            for _ in range(2):
                db.upsert_many(ids=more, vectors=[record.vector] * 20, collection=name)
            db.delete(more, collection=name)
    return read(directory)


def judge(directory: Path, mode: str, truth: object) -> str:
    """Runs in a process of its own."""
    try:
        if mode == "verify" and not check_directory(directory).ok:
            return FOUND
    except QStoreError:
        return FOUND
    try:
        same = read(directory) == truth and (mode == "read" or write_more(directory) == truth)
    except QStoreError as error:
        # What cannot be read is found, but `verify` had promised that it could.
        return f"{SILENT}: {error}" if mode == "verify" else FOUND
    return HARMLESS if same else SILENT


def apart(work: Callable[[], object]) -> object:
    """What `work` returns in a forked process, or how that ended without an answer. This process itself never
    searches: threads of its own would be missing in the next fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - the test hears of it
            answer = f"{SILENT}: {type(error).__name__}: {error}"
        with os.fdopen(writing, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return pickle.loads(said) if status == 0 else f"{CRASHED}: signal {-status}"


def main() -> None:
    source, scratch, mode, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]
    truth_copy = scratch / "truth"
    shutil.copytree(source, truth_copy)
    truth = apart(lambda: read(truth_copy))
    for line in sys.stdin:
        bit = int(line)
        copy = scratch / f"copy-{bit}"
        shutil.copytree(source, copy)
        flip_bit(copy / name, bit)
        print(json.dumps([bit, apart(lambda copy=copy: judge(copy, mode, truth))]), flush=True)
        shutil.rmtree(copy)


main()
