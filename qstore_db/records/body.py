"""A record without its vector, and how it is packed: in the store and on a connection alike.

Packed, it is the msgpack array `[id, context names, context weights as given, metadata, expires_at, updated_at]`.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgpack

from qstore_db.records.contexts import Superposition
from qstore_db.records.metadata import Metadata
from qstore_db.records.packing import pack
from qstore_db.records.record import Record
from qstore_db.records.vector import Vectors


@dataclass(frozen=True, slots=True)
class Body:
    """All of a record but its vector and its version."""

    id: str
    contexts: Superposition
    metadata: Metadata
    expires_at: float | None
    """Seconds since the epoch."""
    updated_at: float
    """Seconds since the epoch, by the writer's clock."""

    def packed(self) -> bytes:
        return pack(
            [self.id, self.contexts.names, self.contexts.raw, self.metadata, self.expires_at, self.updated_at]
        )

    @classmethod
    def unpacked(cls, packed: bytes | memoryview) -> Body:
        """The body that `packed` made; of other bytes, whatever msgpack makes of them, or its error."""
        id, names, raw, metadata, expires_at, updated_at = msgpack.unpackb(packed, strict_map_key=False)
        return cls(id, Superposition(tuple(names), tuple(raw)), metadata, expires_at, updated_at)

    @classmethod
    def of(cls, record: Record) -> Body:
        """The body of a record that was read."""
        names, raw = zip(*record.raw_contexts, strict=True) if record.raw_contexts else ((), ())
        return cls(
            record.id,
            Superposition(tuple(names), tuple(raw)),
            dict(record.metadata),
            record.expires_at,
            record.updated_at or 0.0,
        )

    def record(self, version: int, vector: Vectors) -> Record:
        return Record(
            id=self.id,
            vector=vector,
            contexts=self.contexts.pairs(),
            metadata=self.metadata,
            version=version,
            expires_at=self.expires_at,
            updated_at=self.updated_at,
            raw_contexts=tuple(zip(self.contexts.names, self.contexts.raw, strict=True)),
        )
