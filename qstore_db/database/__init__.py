"""The database itself: `QuantumDatabase`, its async twin, backup and restore."""

from qstore_db.database.aio import AsyncQuantumDatabase
from qstore_db.database.backup import backup, restore
from qstore_db.database.sync import QuantumDatabase

__all__ = ["AsyncQuantumDatabase", "QuantumDatabase", "backup", "restore"]
