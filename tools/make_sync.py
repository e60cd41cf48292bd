"""Write `qstore_db/database/sync.py` from `aio.py`. Run it after every edit there; a test compares the two."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DATABASE = Path(__file__).resolve().parent.parent / "qstore_db" / "database"
HEADER = '"""`QuantumDatabase`. Generated from `aio.py` by `tools/make_sync.py`: edit there, then run it."""'

WORDS = (
    (r"AsyncQuantumDatabase", "QuantumDatabase"),
    (r"AsyncEdge", "SyncEdge"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"async def ", "def "),
    (r"\(await (self\._\w+\([^()]*\))\)", r"\1"),
    (r"\bawait ", ""),
)


def sync_source(source: str) -> str:
    """The sync twin of the async source, formatted."""
    body = source.split("\n", 1)[1]
    for pattern, replacement in WORDS:
        body = re.sub(pattern, replacement, body)
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(DATABASE / "sync.py"), "-"],
        input=HEADER + "\n" + body,
        capture_output=True,
        text=True,
        check=True,
    )
    return formatted.stdout


if __name__ == "__main__":
    (DATABASE / "sync.py").write_text(sync_source((DATABASE / "aio.py").read_text()))
