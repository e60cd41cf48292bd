"""`QuantumDatabase`. Generated from `aio/` by `tools/make_sync.py`: edit there, then run it."""

from qstore_db.database.sync.database import QuantumDatabase

__all__ = ["QuantumDatabase"]
