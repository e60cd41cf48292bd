"""docs/claims.md answers every claim of earlier systems that this release owes an answer to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OWED = tuple(f"C-{number:02}" for number in range(1, 10))
VERDICTS = {"holds", "corrected", "refuted", "modelled only", "not testable here"}


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The cells of each row of the table: id, claim, verdict, figure, program."""
    text = (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (C-\d+) \|(.*)\|$", text, flags=re.MULTILINE)
    return {id: [id, *(cell.strip() for cell in rest.split(" | "))] for id, rest in lines}


@pytest.mark.parametrize("id", OWED)
def test_an_owed_claim_has_a_row_with_a_known_verdict_and_a_figure(
    rows: dict[str, list[str]], id: str
) -> None:
    assert id in rows, f"docs/claims.md has no row for {id}"
    _, claim, verdict, figure, _ = rows[id]
    assert claim
    assert verdict in VERDICTS
    assert re.search(r"\d", figure), f"{id} shows no figure"


@pytest.mark.parametrize("id", OWED)
def test_the_program_behind_a_claim_exists(rows: dict[str, list[str]], id: str) -> None:
    program = rows[id][4].strip("`")
    assert (ROOT / "benchmarks" / f"{program}.py").is_file(), f"{id} names benchmarks/{program}.py"
