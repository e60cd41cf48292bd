"""The client is thin: it works where neither FAISS nor LMDB can be imported, and loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from qstore_db import QuantumDatabase
from qstore_db.testing.serving import ServerThread

HEAVY = {
    "faiss",
    "lmdb",
    "torch",
    "aiohttp",
    "cryptography",
    "pandas",
    "pyarrow",
    "matplotlib",
    "scipy",
    "qstore_server",
}
PROGRAM = """
import json, sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None  # an import of it fails
from qstore_db import QuantumDatabase
with QuantumDatabase.connect(sys.argv[1]) as db:
    db.insert("a", [1.0, 0.0], metadata={"n": 1})
    db.insert_many(ids=["b", "c"], vectors=[[0.0, 1.0], [1.0, 1.0]])
    found = [(match.id, match.metadata) for match in db.query([1.0, 0.0], top_k=1)]
    beyond = db.tunnel_search([1.0, 0.0], top_k=1).ids
loaded = sorted(name for name, module in sys.modules.items() if module is not None)
print(json.dumps({"found": found, "beyond": beyond, "count": 3, "loaded": loaded}))
"""


def test_a_client_needs_none_of_what_the_engine_needs(tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db") as server:
        command = [sys.executable, "-c", PROGRAM, server.url, ",".join(sorted(HEAVY))]
        answer = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
        told = json.loads(answer.stdout)
        assert told["found"] == [["a", {"n": 1}]]
        with QuantumDatabase.connect(server.url) as db:
            assert db.count() == 3


def test_importing_the_client_loads_nothing_heavy() -> None:
    program = (
        "import json, sys; before = set(sys.modules); import qstore_client; qstore_client.RemoteEdge;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=120, capture_output=True, text=True
    )
    assert {name.partition(".")[0] for name in json.loads(answer.stdout)} & HEAVY == set()
