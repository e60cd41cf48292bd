"""Starting: the program by its two names, how little it loads, and its reference."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer.main

from qstore_db.cli import exits
from qstore_db.cli.app import app

# What a command line has no use for before it runs something.
HEAVY = {
    "aiohttp", "cryptography", "faiss", "lmdb", "matplotlib", "pandas", "prometheus_client", "pyarrow",
    "qstore_client", "qstore_server", "uvloop",
}  # fmt: skip
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


def commands() -> dict[str, Any]:
    """Every command by what is typed for it."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {name: command} if inner is None else {f"{name} {each}": c for each, c in inner.items()}
    return found


def test_help_loads_nothing_heavy():
    script = (
        "import sys; from qstore_db.cli import main\n"
        "for words in ([], ['import'], ['serve'], ['token', 'create']): main([*words, '--help'])\n"
        f"print('loaded', sorted({HEAVY!r} & set(sys.modules)))"
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
    for name, command in commands().items():
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_every_command_that_uses_a_database_takes_an_address_too(run):
    makes_or_looks = {"demo", "restore", "doctor", "serve"}
    for name, command in commands().items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert ({"--path", "--url", "--token", "--tls"} <= options) == (name not in makes_or_looks), name


def test_every_command_option_and_exit_code_is_in_the_reference():
    text = REFERENCE.read_text()
    missing = [
        f"{name} {option}"
        for name, command in commands().items()
        for parameter in command.params
        for option in [
            f"`qstore {name}`",
            *(o for o in (*parameter.opts, *parameter.secondary_opts) if o.startswith("--")),
        ]
        if option not in text
    ]
    missing += [str(code) for code in exits.MEANINGS if f"| {code} |" not in text]
    assert missing == []
