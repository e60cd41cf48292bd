"""What a token may ask for, and see."""

from __future__ import annotations

from typing import Any

from qstore_db.database import operations
from qstore_db.database.operations import Fields, Operation
from qstore_db.errors import ForbiddenError
from qstore_server.access import Role, Token
from qstore_server.requests import Request

_OF_ITS_OWN = (operations.LIST_COLLECTIONS, operations.LIST_GROUPS, operations.WAIT_INDEXED)
"""About all collections, but a token that is limited to some sees no others by them."""


def check_allowed(token: Token, request: Request) -> None:
    """Raises ForbiddenError. To be asked again when a later part of the request may have named more."""
    operation, needed = request.operation, Role(request.operation.role)
    token.require(needed)
    if token.collections is None:
        return
    for collection in request.collections():
        token.require(needed, collection)
    if not operation.scope and operation not in _OF_ITS_OWN:
        raise ForbiddenError(
            f"{operation.name} is about all collections, and token {token.name!r} is limited to some",
            subject=operation.name,
        )


def visible(token: Token, operation: Operation[Any, Any], body: Fields) -> Fields:
    """Of an answer about all collections, what the token may see."""
    limits = token.collections
    if limits is None:
        return body
    if operation is operations.LIST_COLLECTIONS:
        return {"names": [name for name in body["names"] if name in limits]}
    if operation is operations.LIST_GROUPS:
        return {"groups": [group for group in body["groups"] if group["collection"] in limits]}
    return body
