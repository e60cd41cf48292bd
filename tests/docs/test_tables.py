"""The figures that README.md and docs/ show are those of benchmarks/results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "tools" / "make_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _tool()


@pytest.mark.parametrize("page", TOOL.PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<!-- figures: " in text
    assert text == TOOL.filled(text, TOOL.current_table()), "run tools/make_tables.py"


def test_a_table_holds_the_rows_of_the_programs_it_names() -> None:
    table = "| program | result |\n|---|---|\n| `tunnel` | 1 |\n| `ingest` | 2 |\n\nMeasured here.\n"
    page = "<!-- figures: tunnel -->\nold\n<!-- end of figures -->\n"
    assert TOOL.filled(page, table) == (
        "<!-- figures: tunnel -->\n| program | result |\n|---|---|\n| `tunnel` | 1 |\n\nMeasured here.\n"
        "<!-- end of figures -->\n"
    )


def test_a_page_without_results_says_so() -> None:
    page = "<!-- figures: all -->\n| stale |\n<!-- end of figures -->\n"
    assert TOOL.NONE_YET in TOOL.filled(page, "| program | result |\n|---|---|\n\n")
