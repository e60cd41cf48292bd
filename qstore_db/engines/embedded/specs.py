"""A collection's entry in the catalog."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qstore_db.engines.base import CollectionSpec
from qstore_db.errors import CorruptionError
from qstore_db.records import Metric


def spec_data(cid: int, spec: CollectionSpec) -> dict[str, Any]:
    return {
        "cid": cid,
        "dimension": spec.dimension,
        "metric": spec.metric.value,
        "index": spec.index,
        "storage": spec.storage,
        "target_recall": spec.target_recall,
    }


def spec_of(name: str, data: Mapping[str, Any]) -> CollectionSpec:
    try:
        return CollectionSpec(
            name,
            data["dimension"],
            Metric(data["metric"]),
            data["index"],
            data["storage"],
            data["target_recall"],
        )
    except (KeyError, ValueError) as error:
        raise CorruptionError(
            f"the catalog entry of collection {name!r} is unreadable: {error}", subject=name
        ) from None
