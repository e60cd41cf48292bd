"""A child process to talk to, with or without injected faults."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from qstore_db.testing.faults import FaultShim

CONSOLE = Path(__file__).parent / "children" / "console.py"


class Console:
    """A Python process with a database directory. Calling it evaluates one line there."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, str(CONSOLE), str(directory)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, line: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the process ended ({self.process.wait()}) on: {line}"
        return answer.rstrip("\n")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def console(directory: Path) -> Iterator[Callable[..., Console]]:
    """Starts such processes, in the given environment or this one's, and ends them with the test."""
    started: list[Console] = []

    def start(environment: Mapping[str, str] = os.environ) -> Console:
        started.append(Console(directory, environment))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def faults(require_tool: Callable[[str], str]) -> Iterator[FaultShim]:
    require_tool("cc")
    with FaultShim() as shim:
        yield shim


@pytest.fixture
def child(faults: FaultShim, directory: Path, console: Callable[..., Console]) -> Console:
    """One such process whose files beside and below `directory`, and only those, meet the shim's faults."""
    return console(faults.environment(directory.parent))
