"""The groups of a collection in memory, and their entries in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstore_db.errors import CorruptionError
from qstore_db.records import Group

GROUP_PREFIX = "group/"
"""Of the catalog entry that describes a group; its name follows. The entry names its collection by number, so that
renaming the collection leaves it as it is."""


class Groups:
    """Finds the groups of a record by its id.

    Whoever changes it holds the engine's lock of definitions; the writer reads it without one, one id at a time.
    """

    def __init__(self) -> None:
        self._by_name: dict[str, Group] = {}
        self._by_id: dict[str, tuple[Group, ...]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def all(self) -> list[Group]:
        return list(self._by_name.values())

    def of(self, id: str) -> tuple[Group, ...]:
        return self._by_id.get(id, ())

    def reach(self, id: str) -> int:
        """How many records a write of `id` may move at most."""
        return sum(len(group.ids) - 1 for group in self.of(id))

    def add(self, group: Group) -> None:
        self._by_name[group.name] = group
        for id in group.ids:
            self._by_id[id] = (*self.of(id), group)

    def remove(self, name: str) -> None:
        for id in self._by_name.pop(name).ids:
            left = tuple(group for group in self.of(id) if group.name != name)
            if left:
                self._by_id[id] = left
            else:
                del self._by_id[id]


def group_data(cid: int, group: Group) -> dict[str, Any]:
    return {
        "cid": cid,
        "ids": list(group.ids),
        "correlation": group.correlation,
        "fields": list(group.fields),
    }


def group_of(name: str, data: Mapping[str, Any], collections: Mapping[int, str]) -> tuple[int, Group]:
    """The cid and the group of a catalog entry, given the names of all collections by cid."""
    try:
        cid = data["cid"]
        ids, fields = tuple(data["ids"]), tuple(data["fields"])
        return cid, Group(name, collections[cid], ids, data["correlation"], fields)
    except (KeyError, TypeError) as error:
        raise CorruptionError(
            f"the catalog entry of group {name!r} is unreadable: {error!r}", subject=name
        ) from None
