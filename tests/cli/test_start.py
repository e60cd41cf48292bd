"""Starting: the program by its two names, how little it loads, and its reference."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from qstore_db.cli import exits
from qstore_db.cli.app import app

REFERENCE = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize(
    "program", [[sys.executable, "-m", "qstore_db.cli"], [str(Path(sys.executable).with_name("qstore"))]]
)
def test_both_names_run_the_same_program(program, path):
    if not shutil.which(program[0]):
        program = [sys.executable, "-m", "qstore_db.cli"]
    ended = subprocess.run(
        [*program, "collections", "--path", str(path), "--json"], capture_output=True, text=True, check=True
    )
    assert '"default"' in ended.stdout
    assert ended.stderr == ""


def test_an_error_ends_the_process_with_its_exit_code(tmp_path):
    command = [sys.executable, "-m", "qstore_db.cli", "stats", "--path", str(tmp_path / "absent")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == exits.CONFIGURATION
    assert "Traceback" not in ended.stderr


def test_help_loads_neither_faiss_nor_lmdb_nor_pyarrow():
    script = (
        "import sys; from qstore_db.cli import main; main(['--help']); main(['import', '--help'])\n"
        "print('loaded', sorted({'faiss', 'lmdb', 'pyarrow', 'pandas', 'matplotlib'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.endswith("loaded []\n")


def test_version_is_printed(run):
    assert re.fullmatch(r"qstore \d+\.\d+\.\d+\S*\n", run("--version").out)


def test_without_a_command_the_help_is_shown(run):
    ended = run()
    assert ended.code == 0
    assert "Usage: qstore" in ended.out


def test_every_command_takes_json(run):
    for name, command in typer.main.get_command(app).commands.items():
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_command_option_and_exit_code_is_in_the_reference():
    text = REFERENCE.read_text()
    missing = [
        f"{name} {option}"
        for name, command in typer.main.get_command(app).commands.items()
        for parameter in command.params
        for option in [f"### `qstore {name}`", *(o for o in parameter.opts if o.startswith("--"))]
        if option not in text
    ]
    missing += [str(code) for code in exits.MEANINGS if f"| {code} |" not in text]
    assert missing == []
