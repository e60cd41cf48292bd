"""The operations that write records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from qstore_db.database.arguments import check_expiry, check_ids
from qstore_db.database.operations.base import REQUIRED, Fields, WriteOperation, plain, sendable
from qstore_db.database.pieces import ATOMIC_RECORDS, Columns, Piece, pieces_of
from qstore_db.errors import ArgumentError
from qstore_db.records import Contexts, Superposition, as_vector, check_id, check_metadata, parse_filter


def _contexts(contexts: Contexts) -> list[tuple[str, float]] | None:
    """As given, once they are checked. None and [] differ where a record is updated."""
    if contexts is None:
        return None
    state = Superposition.parse(contexts)
    return list(zip(state.names, state.raw, strict=True))


def _pack_put(
    id: str,
    vector: ArrayLike,
    contexts: Contexts,
    metadata: Mapping[str, Any] | None,
    expires_at: object,
    collection: str,
    exclusive: bool,
) -> Fields:
    given = {
        "id": check_id(id),
        "vector": as_vector(vector),
        "contexts": _contexts(contexts),
        "metadata": check_metadata(metadata, id) or None,
        "expires_at": check_expiry(expires_at),
    }
    packed = {name: value for name, value in given.items() if value is not None}
    return {**packed, "collection": collection, "exclusive": exclusive}


_unpack_put = plain(
    id=REQUIRED,
    vector=REQUIRED,
    contexts=None,
    metadata=None,
    expires_at=None,
    collection="default",
    exclusive=False,
)[1]


def _pack_put_many(piece: Piece, collection: str) -> Fields:
    puts = piece.puts
    packed: Fields = {"ids": [put.id for put in puts], "vectors": piece.vectors}
    if any(put.contexts.names for put in puts):
        packed["contexts"] = [list(zip(put.contexts.names, put.contexts.raw, strict=True)) for put in puts]
    if any(put.metadata for put in puts):
        packed["metadata"] = [put.metadata for put in puts]
    if any(put.expires_at is not None for put in puts):
        packed["expires_at"] = [put.expires_at for put in puts]
    return {**packed, "collection": collection, "exclusive": puts[0].exclusive}


def _unpack_put_many(given: Fields) -> tuple[Any, ...]:
    *columns, collection, exclusive = _read_put_many(given)
    if not isinstance(exclusive, bool):
        raise ArgumentError(f"exclusive={exclusive!r} must be true or false", subject="exclusive")
    pieces = pieces_of(Columns(**dict(zip(_COLUMNS, columns, strict=True))), None, exclusive=exclusive)
    if len(pieces) != 1:
        raise ArgumentError(
            f"ids must name 1 to {ATOMIC_RECORDS:,} records, not {sum(map(len, pieces)):,}", subject="ids"
        )
    return pieces[0], collection


_COLUMNS = ("ids", "vectors", "contexts", "metadata", "expires_at")
_read_put_many = plain(
    ids=REQUIRED,
    vectors=REQUIRED,
    contexts=None,
    metadata=None,
    expires_at=None,
    collection="default",
    exclusive=False,
)[1]


def _pack_patch(
    id: str,
    vector: ArrayLike | None,
    contexts: Contexts,
    metadata: Mapping[str, Any] | None,
    if_version: int | None,
    collection: str,
) -> Fields:
    given = {
        "id": check_id(id),
        "vector": None if vector is None else as_vector(vector),
        "contexts": _contexts(contexts),
        "metadata": None if metadata is None else check_metadata(metadata, id),
        "if_version": if_version,
    }
    return {**{name: value for name, value in given.items() if value is not None}, "collection": collection}


_unpack_patch = plain(
    id=REQUIRED, vector=None, contexts=None, metadata=None, if_version=None, collection="default"
)[1]


def _pack_delete(id: str | Sequence[str] | None, filter: Mapping[str, Any] | None, collection: str) -> Fields:
    parse_filter(filter)
    packed: Fields = {"collection": collection}
    if id is not None:
        packed["ids"] = check_ids([id] if isinstance(id, str) else id)
    if filter is not None:
        packed["filter"] = sendable(filter)
    return packed


_unpack_delete = plain(ids=None, filter=None, collection="default")[1]

PUT: WriteOperation[[str, ArrayLike, Contexts, Mapping[str, Any] | None, object, str, bool]] = WriteOperation(
    "db.put",
    lambda core, id, vector, contexts, metadata, expires_at, collection, exclusive: core.writes.put(
        id, vector, contexts, metadata, expires_at, collection, exclusive=exclusive
    ),
    _pack_put,
    _unpack_put,
)
PUT_MANY: WriteOperation[[Piece, str]] = WriteOperation(
    "db.put_many",
    lambda core, piece, collection: core.writes.put_many(piece, collection),
    _pack_put_many,
    _unpack_put_many,
    many=True,
)
UPDATE: WriteOperation[[str, ArrayLike | None, Contexts, Mapping[str, Any] | None, int | None, str]] = (
    WriteOperation(
        "db.update",
        lambda core, *arguments: core.writes.patch(*arguments),
        _pack_patch,
        _unpack_patch,
    )
)
DELETE: WriteOperation[[str | Sequence[str] | None, Mapping[str, Any] | None, str]] = WriteOperation(
    "db.delete",
    lambda core, id, filter, collection: core.writes.delete(id, filter, collection),
    _pack_delete,
    _unpack_delete,
)
