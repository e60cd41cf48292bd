"""Writes the golden directory of the current format: `tests/golden/format-N` and, beside it, what it must hold.

Run it once for each released format, never again for the same one: `python tools/make_golden.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from qstore_db import QuantumDatabase
from qstore_db.database.backup import restore
from qstore_db.engines.embedded import collection, engine, graph, layout

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
YEAR_2200 = 7_258_118_400.0


def fill(db: QuantumDatabase) -> None:
    """Every kind of value, superseded and deleted records, whole vectors and vectors in pieces, a graph."""
    rng = np.random.default_rng(20)
    db.create_collection("plain", dimension=8, metric="cosine", index="hnsw")
    db.create_collection("wide", dimension=600, metric="l2", storage="float16")
    db.create_collection("dot", dimension=3, metric="dot", index="flat", target_recall=0.9)
    db.create_collection("empty", dimension=2)
    db.insert_many(
        ids=[f"record {i}" for i in range(80)],
        vectors=rng.standard_normal((80, 8), np.float32),
        contexts=[[("even" if i % 2 == 0 else "odd", 0.25 * (i % 5 + 1)), ("all", 1.0)] for i in range(80)],
        metadata=[
            {"number": i, "third": i / 3, "word": f"w{i % 7}", "tags": [i % 3, "t"]} for i in range(80)
        ],
        collection="plain",
    )
    db.upsert(
        "größe/鍵",
        [1, 0, 0, 0, 0, 0, 0, -1.5],
        metadata={"deep": {"a": {"b": None}}, "yes": True, "none": ""},
        collection="plain",
    )
    db.insert("mortal", np.ones(8), expires_at=YEAR_2200, collection="plain")
    db.insert("expired", np.ones(8), expires_at=1.0, collection="plain")
    db.update("record 3", metadata={"number": -(1 << 63), "big": (1 << 63) - 1}, collection="plain")
    db.update("record 4", vector=np.arange(8), contexts=[("new", 2.0)], collection="plain")
    db.delete(["record 5", "record 6"], collection="plain")
    for i in range(12):
        db.insert(f"w{i}", rng.standard_normal(600, np.float32), {"c": 1.0}, {"i": i}, collection="wide")
    db.insert("origin", [0.0, 0.0, 0.0], collection="dot")
    db.insert("x", [1e-30, 2.0, 3e10], metadata={"x": 0.1}, collection="dot")


def content(db: QuantumDatabase) -> dict[str, object]:
    """All that can be read, as JSON; vectors as the hexadecimal of their little-endian float32."""
    collections = db.stats()["collections"]
    return {
        name: {
            "spec": collections[name]["spec"],
            "records": {
                r.id: {
                    "vector": r.vector.astype("<f4").tobytes().hex(),
                    "contexts": [list(pair) for pair in r.raw_contexts],
                    "metadata": r.metadata,
                    "version": r.version,
                    "expires_at": r.expires_at,
                    "updated_at": r.updated_at,
                }
                for r in db.scroll(limit=1_000, collection=name)
            },
        }
        for name in db.list_collections()
    }


def main() -> None:
    target = GOLDEN / f"format-{layout.FORMAT}"
    if target.exists():
        sys.exit(f"{target} exists: a golden directory is never written again")
    collection.TAIL_ROWS, engine.SEAL_ROWS, graph._CHUNK = 32, 1, 8  # so few records would get no graph
    with tempfile.TemporaryDirectory() as scratch:
        with QuantumDatabase.connect(Path(scratch) / "db") as db:
            fill(db)
            db.wait_indexed()
            db.snapshot()
            db.upsert("after the index", np.ones(8), collection="plain")
            expected = content(db)
            db.backup(Path(scratch) / "backup")
        restore(Path(scratch) / "backup", target)
    (GOLDEN / f"format-{layout.FORMAT}.json").write_text(
        json.dumps(expected, ensure_ascii=False, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
