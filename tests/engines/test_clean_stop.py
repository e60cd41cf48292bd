"""What a clean stop leaves for the next start."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qstore_db.engines.base import CollectionSpec, Put
from qstore_db.engines.embedded.engine import SEAL_ROWS, EmbeddedEngine


def test_a_graph_that_no_write_followed_is_saved_at_a_clean_stop(tmp_path: Path) -> None:
    vectors = np.random.default_rng(1).normal(size=(SEAL_ROWS, 8)).astype(np.float32)
    engine = EmbeddedEngine(tmp_path)
    engine.create_collection(CollectionSpec("c", 8))
    engine.write("c", [Put(f"{i}", vector) for i, vector in enumerate(vectors)]).result()
    engine.snapshot()  # covers every op, and no graph yet
    engine.wait_indexed()
    engine.close()

    engine = EmbeddedEngine(tmp_path)
    try:
        assert engine.recoveries["c"].rows_read == 0
        assert engine.statistics()["collections"]["c"]["graph_recall"] is not None
    finally:
        engine.close()
