"""The operations on collections, groups and the directory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qstore_db.database.operations.base import REQUIRED, Fields, Operation, no_result, nothing, plain
from qstore_db.engines.base import CollectionSpec, IndexKind, StorageKind
from qstore_db.records import Group, Metric

_pack_spec, _unpack_spec = plain(
    name=REQUIRED, dimension=REQUIRED, metric="cosine", index="auto", storage="float32", target_recall=0.99
)
_pack_name, _unpack_name = plain(name=REQUIRED)
_pack_rename, _unpack_rename = plain(old=REQUIRED, new=REQUIRED)
_pack_reindex, _unpack_reindex = plain(name=REQUIRED, index=None, storage=None)
_pack_wait, _unpack_wait = plain(timeout=None)
_pack_nothing, _unpack_nothing = plain()
_pack_group, _unpack_group = plain(
    name=REQUIRED, ids=REQUIRED, correlation=REQUIRED, fields=REQUIRED, collection="default"
)


def _answer_spec(spec: CollectionSpec | None) -> Fields:
    if spec is None:
        return {}
    return {
        "name": spec.name,
        "dimension": spec.dimension,
        "metric": spec.metric.value,
        "index": spec.index,
        "storage": spec.storage,
        "target_recall": spec.target_recall,
    }


def _understand_spec(given: Fields) -> CollectionSpec | None:
    return CollectionSpec(**{**given, "metric": Metric(given["metric"])}) if given else None


def _answer_groups(groups: list[Group]) -> Fields:
    return {
        "groups": [
            {
                "name": group.name,
                "collection": group.collection,
                "ids": list(group.ids),
                "correlation": group.correlation,
                "fields": list(group.fields),
            }
            for group in groups
        ]
    }


def _understand_groups(given: Fields) -> list[Group]:
    return [
        Group(**{**group, "ids": tuple(group["ids"]), "fields": tuple(group["fields"])})
        for group in given["groups"]
    ]


def _tuples(report: Fields) -> dict[str, Any]:
    """A report of `verify`, whose lists of problems are tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in report.items()}


COLLECTION: Operation[[str], CollectionSpec | None] = Operation(
    "db.collection",
    "read",
    lambda core, name: core.writes.spec_of(name),
    _pack_name,
    _unpack_name,
    _answer_spec,
    _understand_spec,
    scope=("name",),
)
CREATE_COLLECTION: Operation[[str, int, str, str, str, float], None] = Operation(
    "db.create_collection",
    "admin",
    lambda core, *arguments: core.create_collection(*arguments),
    _pack_spec,
    _unpack_spec,
    no_result,
    nothing,
    scope=("name",),
    repeatable=False,
)
LIST_COLLECTIONS: Operation[[], list[str]] = Operation(
    "db.list_collections",
    "read",
    lambda core: core.collections(),
    _pack_nothing,
    _unpack_nothing,
    lambda names: {"names": names},
    lambda given: list(given["names"]),
    scope=(),
)
RENAME_COLLECTION: Operation[[str, str], None] = Operation(
    "db.rename_collection",
    "admin",
    lambda core, old, new: core.rename_collection(old, new),
    _pack_rename,
    _unpack_rename,
    no_result,
    nothing,
    scope=("old", "new"),
    repeatable=False,
)
DROP_COLLECTION: Operation[[str], None] = Operation(
    "db.drop_collection",
    "admin",
    lambda core, name: core.drop_collection(name),
    _pack_name,
    _unpack_name,
    no_result,
    nothing,
    scope=("name",),
    repeatable=False,
    patient=True,
)
REINDEX: Operation[[str, IndexKind | None, StorageKind | None], None] = Operation(
    "db.reindex",
    "admin",
    lambda core, name, index, storage: core.reindex(name, index, storage),
    _pack_reindex,
    _unpack_reindex,
    no_result,
    nothing,
    scope=("name",),
    repeatable=False,
    patient=True,
)
CREATE_GROUP: Operation[[str, Sequence[str], float, Sequence[str], str], None] = Operation(
    "db.create_group",
    "write",
    lambda core, *arguments: core.groups.create(*arguments),
    _pack_group,
    _unpack_group,
    no_result,
    nothing,
    repeatable=False,
)
LIST_GROUPS: Operation[[], list[Group]] = Operation(
    "db.list_groups",
    "read",
    lambda core: core.groups.all(),
    _pack_nothing,
    _unpack_nothing,
    _answer_groups,
    _understand_groups,
    scope=(),
)
DROP_GROUP: Operation[[str], None] = Operation(
    "db.drop_group",
    "write",
    lambda core, name: core.groups.drop(name),
    _pack_name,
    _unpack_name,
    no_result,
    nothing,
    scope=(),
    repeatable=False,
)
WAIT_INDEXED: Operation[[float | None], None] = Operation(
    "db.wait_indexed",
    "read",
    lambda core, timeout: core.engine.wait_indexed(timeout),
    _pack_wait,
    _unpack_wait,
    no_result,
    nothing,
    scope=(),
    patient=True,
)
SNAPSHOT: Operation[[], int] = Operation(
    "db.snapshot",
    "admin",
    lambda core: core.engine.snapshot(),
    _pack_nothing,
    _unpack_nothing,
    lambda sequence: {"sequence": sequence},
    lambda given: int(given["sequence"]),
    scope=(),
    patient=True,
)
COMPACT: Operation[[], int] = Operation(
    "db.compact",
    "admin",
    lambda core: core.engine.compact(),
    _pack_nothing,
    _unpack_nothing,
    lambda freed: {"bytes": freed},
    lambda given: int(given["bytes"]),
    scope=(),
    patient=True,
)
BACKUP: Operation[[str | Path], Path] = Operation(
    "db.backup",
    "admin",
    lambda core, dest: core.backup(dest),
    lambda dest: {"dest": str(dest)},
    plain(dest=REQUIRED)[1],
    lambda folder: {"dest": str(folder)},
    lambda given: Path(given["dest"]),
    scope=(),
    patient=True,
    repeatable=False,
)
VERIFY: Operation[[], dict[str, Any]] = Operation(
    "db.verify",
    "admin",
    lambda core: core.verify(),
    _pack_nothing,
    _unpack_nothing,
    lambda report: report,
    _tuples,
    scope=(),
    patient=True,
)
STATS: Operation[[], dict[str, Any]] = Operation(
    "db.stats",
    "read",
    lambda core: core.stats(),
    _pack_nothing,
    _unpack_nothing,
    lambda stats: stats,
    lambda given: given,
    scope=(),
)
