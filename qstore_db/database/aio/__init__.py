"""`AsyncQuantumDatabase`. `database.sync` is generated from this package by `tools/make_sync.py`: edit here."""

from qstore_db.database.aio.database import AsyncQuantumDatabase

__all__ = ["AsyncQuantumDatabase"]
