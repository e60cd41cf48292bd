"""The client in Node, written from docs/protocol.md alone, works against a real server."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing.serving import ServerThread

EXAMPLE = Path(__file__).parents[2] / "examples" / "node"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Path:
    node, npm = require_tool("node"), require_tool("npm")
    assert node
    folder = tmp_path_factory.mktemp("node")
    for file in EXAMPLE.iterdir():
        if file.is_file():
            shutil.copy(file, folder)
    subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=300
    )
    return folder


def run(folder: Path, server: ServerThread, *token: str) -> subprocess.CompletedProcess[str]:
    command = ["node", "example.mjs", "127.0.0.1", str(server.server.port), *token]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_it_prints_what_its_page_shows_and_the_python_client_sees_the_same(
    installed: Path, tmp_path: Path
) -> None:
    with ServerThread(path=tmp_path / "db") as server:
        answer = run(installed, server)
        assert answer.returncode == 0, answer.stderr
        page = (EXAMPLE / "README.md").read_text(encoding="utf-8").split("```text\n")[1].split("```")[0]
        assert answer.stdout.splitlines()[1:] == page.splitlines()[3:]
        with QuantumDatabase.connect(server.url) as db:
            assert db.count(collection="node") == 20_001
            boot = db.get("boot", collection="node")
            assert boot is not None
            assert boot.metadata == {"price": 90, "text": "naïve ☃"}
            assert boot.contexts == (("footwear", 0.7), ("outdoor", 0.3))
            assert boot.vector.tolist() == np.float32([0.9, 0.1, 0.3]).tolist()


def test_a_refusal_comes_as_an_error_with_its_code(installed: Path, tmp_path: Path) -> None:
    with ServerThread(path=tmp_path / "db", require_token=True) as server:
        answer = run(installed, server, "qst_wrong")
        assert answer.returncode == 1
        assert "authentication" in answer.stderr
