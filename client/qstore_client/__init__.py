"""The thin client: what stands behind `QuantumDatabase.connect("qstore://host:port")`.

It needs neither FAISS nor LMDB, and loads neither.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qstore_client.blocking import RemoteEdge
    from qstore_client.streaming import AsyncRemoteEdge
    from qstore_client.target import Target

__all__ = ["AsyncRemoteEdge", "RemoteEdge", "Target"]

_HOMES = {
    "AsyncRemoteEdge": "qstore_client.streaming",
    "RemoteEdge": "qstore_client.blocking",
    "Target": "qstore_client.target",
}

# Type checkers read the imports above instead: a module `__getattr__` would make every misspelt name valid.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'qstore_client' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
