"""The operations on tokens, which a database alone has no use for; and all that a server answers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from qstore_db.database import operations
from qstore_db.database.operations import Fields, Operation, WatchOperation, WriteOperation
from qstore_db.database.operations.base import REQUIRED, plain
from qstore_server.access import Role, Token, Tokens

_pack_create, _unpack_create = plain(name=REQUIRED, role=REQUIRED, collections=None)
_pack_nothing, _unpack_nothing = plain()
_pack_revoke, _unpack_revoke = plain(token=REQUIRED)


def _answer(token: Token) -> Fields:
    limits = None if token.collections is None else list(token.collections)
    return {**asdict(token), "role": str(token.role), "collections": limits}


def _understand(given: Fields) -> Token:
    limits = None if given["collections"] is None else tuple(given["collections"])
    return Token(**{**given, "role": Role(given["role"]), "collections": limits})


CREATE: Operation[[str, str, Sequence[str] | None], tuple[Token, str]] = Operation(
    "tokens.create",
    "admin",
    lambda core, name, role, collections: Tokens(core.engine.catalog).create(name, role, collections),
    _pack_create,
    _unpack_create,
    lambda made: {"token": _answer(made[0]), "text": made[1]},
    lambda given: (_understand(given["token"]), str(given["text"])),
    scope=(),
    repeatable=False,
)
LIST: Operation[[], list[Token]] = Operation(
    "tokens.list",
    "admin",
    lambda core: list(Tokens(core.engine.catalog).all()),
    _pack_nothing,
    _unpack_nothing,
    lambda tokens: {"tokens": [_answer(token) for token in tokens]},
    lambda given: [_understand(token) for token in given["tokens"]],
    scope=(),
)
REVOKE: Operation[[str], Token] = Operation(
    "tokens.revoke",
    "admin",
    lambda core, token: Tokens(core.engine.catalog).revoke(token),
    _pack_revoke,
    _unpack_revoke,
    lambda token: {"token": _answer(token)},
    lambda given: _understand(given["token"]),
    scope=(),
    repeatable=False,
)

SERVED: Mapping[str, Operation[Any, Any] | WriteOperation[Any] | WatchOperation] = {
    **operations.OPERATIONS,
    **{operation.name: operation for operation in (CREATE, LIST, REVOKE)},
}
"""By name on the wire."""
