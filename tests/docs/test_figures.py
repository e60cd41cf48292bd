"""The README shows the committed results of the benchmarks: all of them, losses included, and no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows(table: str) -> list[str]:
    return [line for line in table.splitlines() if line.startswith(("| `", "Measured on "))]


def test_the_table_of_the_readme_is_the_one_that_the_results_give() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.partition("<!-- benchmarks -->\n")[2].partition("<!-- /benchmarks -->")[0]
    command = [sys.executable, "-m", "benchmarks", "--table"]
    table = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert shown
    assert rows(shown) == rows(table), "run python -m benchmarks --publish"
