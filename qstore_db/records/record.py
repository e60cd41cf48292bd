"""The record: what is stored and what `get` gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qstore_db.records.metadata import Value
from qstore_db.records.vector import Vectors


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One stored record, or one to be stored by `insert_many` / `upsert_many`.

    Guarantees: `vector` is bit-exact as float32 to what was written and read-only; `contexts` carries Born
    weights that sum to 1, `raw_contexts` the weights as they were given; metadata types are kept.
    """

    id: str
    vector: Vectors
    """(d,) float32."""
    contexts: tuple[tuple[str, float], ...] = ()
    metadata: Mapping[str, Value] = field(default_factory=dict)
    version: int = 0
    """The op sequence of its last write; compare with `if_version`."""
    expires_at: float | None = None
    """Seconds since the epoch after which no read sees the record."""
    updated_at: float | None = None
    """Seconds since the epoch of its last write, by the writer's clock; no order depends on it."""
    raw_contexts: tuple[tuple[str, float], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (
            self.id == other.id
            and self.version == other.version
            and self.vector.tobytes() == other.vector.tobytes()
            and self.contexts == other.contexts
            and self.metadata == other.metadata
            and self.expires_at == other.expires_at
        )
