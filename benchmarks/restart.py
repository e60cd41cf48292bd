"""Child processes of `ingest`: one that stores and is killed, one that opens what was left and answers.

`python -m benchmarks.restart fill|ask DIRECTORY [--indexed] [--quick] [--data DIR]`. Each prints one line of
JSON; `fill` then waits to be killed, `ask` kills itself so that the next one finds an unclean stop too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import Truth, VectorSet, fashion_mnist
from benchmarks.harness import Options
from qstore_db import QuantumDatabase

_PATIENCE = 600.0


def start(role: str, directory: Path, options: Options, *, indexed: bool = False) -> dict[str, Any]:
    """Run a child to its line of JSON, then make sure that it is dead. Raises RuntimeError without a line."""
    argv = [sys.executable, "-m", "benchmarks.restart", role, str(directory)]
    argv += ["--indexed"] * indexed + ["--quick"] * options.quick
    argv += [] if options.data is None else ["--data", str(options.data)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        child.wait()
    if not line:
        raise RuntimeError(f"{' '.join(argv)} ended without an answer")
    told: dict[str, Any] = json.loads(line)
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("fill", "ask"))
    parser.add_argument("directory", type=Path)
    parser.add_argument("--indexed", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    chosen = parser.parse_args()
    data = fashion_mnist(Options(chosen.quick, chosen.data, chosen.directory), "l2", 50)
    if chosen.role == "fill":
        told = _fill(chosen.directory, data, indexed=chosen.indexed)
    else:
        told = _ask(chosen.directory, data)
    print(json.dumps(told), flush=True)
    if chosen.role == "ask":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(_PATIENCE)


def _fill(directory: Path, data: VectorSet, *, indexed: bool) -> dict[str, Any]:
    """Import everything; indexed: wait until the index is complete and the background has saved it."""
    before = _resident()
    db = QuantumDatabase.connect(directory, build_threads=os.cpu_count())
    db.create_collection("default", dimension=data.base.shape[1], metric=data.metric)
    metadata = [{"label": label} for label in data.labels.tolist()]
    db.insert_many(ids=data.ids, vectors=data.base, metadata=metadata, progress=False)
    if indexed:
        db.wait_indexed()
        db.snapshot()
    for query in data.queries:
        db.query(query)
    stats = db.stats()
    return {
        "memory_bytes": stats["collections"]["default"]["memory_bytes"],
        "resident_bytes": _resident() - before,
        "disk_bytes": stats["disk_bytes"],
    }


def _ask(directory: Path, data: VectorSet) -> dict[str, Any]:
    """Seconds from connect to the first answer, and whether it is right: the true nearest, and nothing lost."""
    truth = Truth(data)
    nearest = int(truth.nearest(0, truth.coarse(np.array([0]))[0], 1)[0])
    started = time.perf_counter()
    db = QuantumDatabase.connect(directory)
    opened = time.perf_counter()
    ids = db.query(data.queries[0]).ids
    answered = time.perf_counter()
    return {
        "open_s": opened - started,
        "first_answer_s": answered - started,
        "correct": ids[0] == str(nearest) and db.count() == len(data),
    }


def _resident() -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


if __name__ == "__main__":
    main()
