"""Every operation of the interface, once: performed in this process or sent to another one."""

from collections.abc import Mapping
from typing import Any

from qstore_db.database.operations.base import Fields, Operation, Role, WriteOperation
from qstore_db.database.operations.reading import (
    COUNT,
    GET,
    NEIGHBOURS,
    QUERY,
    QUERY_BATCH,
    SCROLL,
    TUNNEL,
    TUNNEL_BATCH,
)
from qstore_db.database.operations.upkeep import (
    BACKUP,
    COLLECTION,
    COMPACT,
    CREATE_COLLECTION,
    CREATE_GROUP,
    DROP_COLLECTION,
    DROP_GROUP,
    LIST_COLLECTIONS,
    LIST_GROUPS,
    REINDEX,
    RENAME_COLLECTION,
    SNAPSHOT,
    STATS,
    VERIFY,
    WAIT_INDEXED,
)
from qstore_db.database.operations.watching import WATCH, WatchOperation
from qstore_db.database.operations.writing import DELETE, PUT, PUT_MANY, UPDATE

OPERATIONS: Mapping[str, Operation[Any, Any] | WriteOperation[Any] | WatchOperation] = {
    operation.name: operation
    for operation in list(globals().values())
    if isinstance(operation, (Operation, WriteOperation, WatchOperation))
}
"""By name on the wire."""

__all__ = [
    "BACKUP",
    "COLLECTION",
    "COMPACT",
    "COUNT",
    "CREATE_COLLECTION",
    "CREATE_GROUP",
    "DELETE",
    "DROP_COLLECTION",
    "DROP_GROUP",
    "GET",
    "LIST_COLLECTIONS",
    "LIST_GROUPS",
    "NEIGHBOURS",
    "OPERATIONS",
    "PUT",
    "PUT_MANY",
    "QUERY",
    "QUERY_BATCH",
    "REINDEX",
    "RENAME_COLLECTION",
    "SCROLL",
    "SNAPSHOT",
    "STATS",
    "TUNNEL",
    "TUNNEL_BATCH",
    "UPDATE",
    "VERIFY",
    "WAIT_INDEXED",
    "WATCH",
    "Fields",
    "Operation",
    "Role",
    "WatchOperation",
    "WriteOperation",
]
