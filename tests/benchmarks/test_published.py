"""The documents show the committed results of the benchmarks: all of them, losses included, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("document", "name", "shown"),
    [
        ("README.md", "benchmarks", table.gates_table),
        ("README.md", "engine", lambda: table.speeds_table("engine_speed")),
        ("README.md", "layers", lambda: table.speeds_table("layer_speed")),
        ("README.md", "models", table.models_table),
        ("docs/benchmarks.md", "benchmarks", table.figures),
        ("docs/claims.md", "claims", table.claims_table),
    ],
)
def test_a_document_shows_what_the_results_give(document: str, name: str, shown: object) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    found = text.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    assert callable(shown)
    assert len(found.splitlines()) > 5
    assert found == shown(), "run python -m benchmarks --publish"
