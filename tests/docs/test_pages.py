"""The documentation runs: python and console blocks of a page are executed in order, as a reader would.

A `text` block directly after one is its output, where `...` stands for anything. Blocks of other kinds (and
`make`, which makes an environment of its own) are prose.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: what kind it is, its text, its first line's number, and the output shown below it."""

    kind: str
    text: str
    line: int
    output: str | None


def blocks_of(page: Path) -> list[Block]:
    source = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(source))
    blocks: list[Block] = []
    for match, following in zip(found, [*found, None][1:], strict=True):
        output = None
        if (
            following is not None
            and following[1] == "text"
            and not source[match.end() : following.start()].strip()
        ):
            output = following[2]
        blocks.append(Block(match[1], match[2], source.count("\n", 0, match.start(2)) + 1, output))
    return blocks


def run_python(block: Block, page: Path, namespace: dict[str, Any]) -> str:
    """What the block prints. Padding with empty lines makes a traceback point into the page."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * (block.line - 1) + block.text, str(page), "exec"), namespace)
    return printed.getvalue()


def run_console(block: Block) -> tuple[str, str | None]:
    """What the `$ qstore` commands of a block print, and what the block says they print, if it does."""
    expected: list[str] = []
    printed: list[str] = []
    for line in block.text.splitlines(keepends=True):
        if not line.startswith("$ "):
            expected.append(line)
            continue
        words = shlex.split(line[2:])
        assert words[0] == "qstore", f"line {block.line}: only qstore is run"
        done = subprocess.run(
            [sys.executable, "-m", "qstore_db.cli", *words[1:]],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{line}{done.stdout}{done.stderr}"
        printed.append(done.stdout)
    return "".join(printed), "".join(expected) or None


def is_as_shown(printed: str, shown: str) -> bool:
    def lines(text: str) -> str:
        return "\n".join(line.rstrip() for line in text.strip().splitlines())

    pattern = ".*".join(re.escape(part) for part in lines(shown).split("..."))
    return re.fullmatch(pattern, lines(printed), re.DOTALL) is not None


def anchors_of(page: Path) -> set[str]:
    """The fragments that a page's headings can be linked by."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> list[tuple[Path, str]]:
    """The files a page links to, and the fragments in them."""
    targets = _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8")))
    split = [target.partition("#") for target in targets if "://" not in target]
    return [((page.parent / name).resolve() if name else page, fragment) for name, _, fragment in split]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_shows(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks_of(page):
        if block.kind == "python":
            printed, shown = run_python(block, page, namespace), block.output
        elif block.kind == "console":
            printed, shown = run_console(block)
        else:
            continue
        if shown is not None:
            assert is_as_shown(printed, shown), f"{page.name}, line {block.line}, prints\n{printed}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    broken = [
        f"{path.relative_to(ROOT)}#{fragment}"
        for path, fragment in links_of(page)
        if not path.exists() or (fragment and fragment not in anchors_of(path))
    ]
    assert broken == []


def test_the_readme_leads_to_every_page_of_the_docs() -> None:
    reached = {path for path, _ in links_of(ROOT / "README.md")}
    assert {page for page in PAGES if page.parent.name == "docs"} <= reached


def test_a_page_that_prints_something_else_would_be_noticed() -> None:
    assert is_as_shown("took 12 ms\nthe end\n", "took ... ms\nthe end\n")
    assert not is_as_shown("took 12 ms\n", "took 13 ms\n")
