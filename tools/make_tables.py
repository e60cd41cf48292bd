"""Fill the tables of figures in README.md and docs/ from benchmarks/results. A test compares them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", ROOT / "docs" / "what-quantum-brings.md")
NONE_YET = "Not measured yet: `make bench` takes the figures.\n"
_MARKED = re.compile(
    r"(?P<open><!-- figures: (?P<programs>[\w, ]+) -->\n)(?P<table>.*?)(?P<close><!-- end of figures -->)",
    re.DOTALL,
)
_ROW = re.compile(r"\| `(\w+)` ")


def filled(page: str, table: str) -> str:
    """The page with the rows of the programs it names, `all` for every one, between each pair of markers."""

    def fill(match: re.Match[str]) -> str:
        programs = match["programs"].split(", ")
        lines = [
            line
            for line in table.splitlines(keepends=True)
            if (row := _ROW.match(line)) is None or programs == ["all"] or row[1] in programs
        ]
        measured = any(_ROW.match(line) for line in lines)
        return match["open"] + ("".join(lines) if measured else NONE_YET) + match["close"]

    return _MARKED.sub(fill, page)


def current_table() -> str:
    """What `python -m benchmarks --table` prints."""
    command = [sys.executable, "-m", "benchmarks", "--table"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(filled(path.read_text(encoding="utf-8"), current_table()), encoding="utf-8")
