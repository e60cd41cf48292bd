"""qstore-db: a vector database with superposed contexts and tunnelling search.

The public names below are imported on first use (PEP 562), so that `import qstore_db` costs next to nothing
and a program that only needs the error types never loads FAISS or LMDB.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qstore_db import errors
    from qstore_db.config import DatabaseConfig
    from qstore_db.database import AsyncQuantumDatabase, QuantumDatabase
    from qstore_db.layers import QuantumLayer
    from qstore_db.records import Change, Group, Match, Page, QueryResult, Record, TunnelResult

    __version__: str

__all__ = [
    "AsyncQuantumDatabase",
    "Change",
    "DatabaseConfig",
    "Group",
    "Match",
    "Page",
    "QuantumDatabase",
    "QuantumLayer",
    "QueryResult",
    "Record",
    "TunnelResult",
    "__version__",
    "errors",
]

_HOMES = {
    "AsyncQuantumDatabase": "qstore_db.database",
    "Change": "qstore_db.records",
    "DatabaseConfig": "qstore_db.config",
    "Group": "qstore_db.records",
    "Match": "qstore_db.records",
    "Page": "qstore_db.records",
    "QuantumDatabase": "qstore_db.database",
    "QuantumLayer": "qstore_db.layers",
    "QueryResult": "qstore_db.records",
    "Record": "qstore_db.records",
    "TunnelResult": "qstore_db.records",
}


def __dir__() -> list[str]:
    return sorted(__all__)


# Type checkers read the imports above instead: a module `__getattr__` would make every misspelt name valid.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name == "errors":
            value = import_module("qstore_db.errors")
        elif name == "__version__":
            from importlib.metadata import version

            value = version("qstore-db")
        else:
            raise AttributeError(_unknown(name))
        globals()[name] = value  # the next access no longer comes through here
        return value

    def _unknown(name: str) -> str:
        from difflib import get_close_matches

        close = get_close_matches(name, __all__, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"public names: {', '.join(__all__)}"
        return f"module 'qstore_db' has no attribute {name!r}; {hint}"
