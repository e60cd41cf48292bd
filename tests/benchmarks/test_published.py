"""Figures that the documents show are those of the committed results."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = "|".join(path.stem for path in (ROOT / "benchmarks").glob("*.py"))


def printed(option: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks", option]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def test_every_benchmark_row_of_the_readme_stands_in_the_committed_results() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(rf"^\| `(?:{PROGRAMS})` \|.*$", readme, flags=re.MULTILINE)
    assert set(shown) <= set(printed("--table"))


def test_every_claim_answered_in_the_committed_results_stands_in_the_document() -> None:
    answered = [line for line in printed("--claims") if line.startswith("| C-")]
    document = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8").splitlines()
    assert set(answered) <= set(document)
