# Generated from `aio/` by `tools/make_sync.py`: edit there, then run it.
"""The calls that tie records together."""

from __future__ import annotations

from collections.abc import Sequence

from qstore_db.database import operations
from qstore_db.database.edge import SyncEdge
from qstore_db.records import Group


class Grouping:
    """In a group, an `update` of one member moves numbers of the others in the same commit. Vectors never move."""

    _edge: SyncEdge

    def create_group(
        self,
        name: str,
        ids: Sequence[str],
        correlation: float,
        *,
        fields: Sequence[str],
        collection: str = "default",
    ) -> None:
        """From now on, an `update` of one of `ids` moves `fields` of the others by correlation times its change.

        name: as of a collection, one for the whole database. ids: 2 to 1,001 distinct ids of records that exist.
        correlation: in [-1, 1], read as a decimal (.1 is one tenth). fields: 1 to 64, each a dotted metadata path
        of numbers, or "context:NAME" for the Born weight in a context.

        The update and all moves are one commit, and a moved record moves no others. Only `update` moves. A member
        that is not there, or holds no number at a field, takes no part; nor does a field that held no number before
        or after the update. A record in several groups moves the others of each; moves of the same number add up.
        An int stays one where the result is whole and becomes a float elsewhere. Context weights are clamped at 0
        (below 1e-12 is 0) and normalised; a context that a record in others does not name weighs 0 in it.

        An update is refused, with nothing written, where it would move an int beyond 64 bits or a float beyond the
        finite ones (MetadataError), or leave a member without context weights or in more than 64 contexts
        (ContextError); `subject` is the member's id.

        Raises GroupExistsError, CollectionNotFoundError, RecordNotFoundError naming the first id that is missing,
        IdError, ContextError, ArgumentError.
        """
        self._edge.run(operations.CREATE_GROUP, name, ids, correlation, fields, collection)

    def list_groups(self) -> list[Group]:
        """The groups of all collections, sorted by name."""
        return self._edge.run(operations.LIST_GROUPS)

    def drop_group(self, name: str) -> None:
        """Untie a group; its records stay as they are. Raises GroupNotFoundError."""
        self._edge.run(operations.DROP_GROUP, name)
