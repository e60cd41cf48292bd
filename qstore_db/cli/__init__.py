"""`qstore`, the command line. `python -m qstore_db.cli` is the same program.

Each command is one call of `QuantumDatabase` or of the module it names; nothing here knows more than they do.
Starting it imports neither FAISS nor LMDB nor pyarrow: a command loads what it needs when it runs.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code (see `qstore_db.cli.exits`). None: the arguments of this process."""
    from qstore_db.cli.app import run

    return run(arguments)
