"""Write `qstore_db/database/sync/` from `aio/`. Run it after every edit there; a test compares the two."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

DATABASE = Path(__file__).resolve().parent.parent / "qstore_db" / "database"
SOURCE, TARGET = DATABASE / "aio", DATABASE / "sync"
INIT = '"""`QuantumDatabase`. Generated from `aio/` by `tools/make_sync.py`: edit there, then run it."""'
NOTE = "# Generated from `aio/` by `tools/make_sync.py`: edit there, then run it.\n"

WORDS = (
    (r"\bAsyncEdge\b", "SyncEdge"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\bdatabase\.aio\b", "database.sync"),
    (r"__aenter__", "__enter__"),
    (r"__aexit__", "__exit__"),
    (r"async (?=def |for )", ""),
    (r"\(await (self\._\w+\((?:[^()]|\([^()]*\))*\))\)", r"\1"),
    (r"\bawait ", ""),
    (r"for (\w+) in (.*):\n +yield \1\n", r"yield from \2\n"),
)


def sync_sources() -> dict[str, str]:
    """The sync twin of each file of `aio/`, formatted."""
    return {path.name: _sync_source(path) for path in sorted(SOURCE.glob("*.py"))}


def _sync_source(path: Path) -> str:
    head, body = path.read_text().split("\n", 1)
    head = INIT if path.name == "__init__.py" else NOTE + head
    for pattern, replacement in WORDS:
        body = re.sub(pattern, replacement, body)
    ruff = [sys.executable, "-m", "ruff"]
    for tool in (["check", "--quiet", "--select", "I", "--fix"], ["format"]):
        body = _through([*ruff, *tool, "--stdin-filename", str(TARGET / path.name), "-"], body)
    return _through([*ruff, "format", "--stdin-filename", str(TARGET / path.name), "-"], head + "\n" + body)


def _through(command: list[str], text: str) -> str:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    TARGET.mkdir(exist_ok=True)
    for name, source in sync_sources().items():
        (TARGET / name).write_text(source)
