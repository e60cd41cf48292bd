"""Requests under keys that would fail, or touch other records, if one of them were applied twice or not at all.

A writing process and whoever kills it know them alike: each follows from its writer and its number.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from qstore_db.engines.base import Delete, DeleteWhere, Put, Selection, Write
from qstore_db.records import parse_filter

DIMENSION = 16
_MANY = 5


@dataclass(frozen=True, slots=True)
class Request:
    """Numbers count up from 0: one record and then several are inserted, then the one and the others deleted."""

    writer: int
    number: int

    @property
    def key(self) -> bytes:
        return blake2b(f"{self.writer}/{self.number}".encode(), digest_size=16).digest()

    @property
    def count(self) -> int:
        """How many records it touches."""
        return _MANY if self.number % 2 else 1

    @property
    def writes(self) -> list[Write]:
        inserted = Request(self.writer, self.number - self.number % 4 + self.number % 2)
        if self.number % 4 < 2:
            return [
                Put(id, np.ones(DIMENSION, np.float32), metadata={"by": str(self)}, exclusive=True)
                for id in self.ids()
            ]
        if self.number % 4 == 2:
            return [Delete(id) for id in inserted.ids()]
        return [DeleteWhere(Selection(parse_filter({"by": str(inserted)})))]

    def ids(self) -> list[str]:
        """Of what an inserting request inserts."""
        return [f"{self}/{i}" for i in range(self.count)]

    def left(self) -> set[str]:
        """The ids that its writer has in the database once this request is its last."""
        begun = self.number - self.number % 4
        inserted = {
            number: Request(self.writer, number).ids()
            for number in range(begun, min(self.number, begun + 1) + 1)
        }
        for deleted in range(begun + 2, self.number + 1):
            del inserted[deleted - 2]
        return {id for ids in inserted.values() for id in ids}

    def __str__(self) -> str:
        return f"{self.writer}/{self.number}"
