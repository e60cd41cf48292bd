"""The arguments of the two searches, as the caller gave them: made by the faces, checked by `Reads`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qstore_db.records import ContextLike


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a query and a tunnelling search have in common."""

    top_k: int
    context: ContextLike
    context_strength: float
    soft: bool
    denoise: bool
    coherence_time: float | None
    filter: Mapping[str, Any] | None
    include_vectors: bool
    collection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions(SearchOptions):
    scale: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelOptions(SearchOptions):
    barrier_threshold: float | None
    barrier_scale: str
    tunneling_strength: float
    beyond_only: bool
    candidates: int
    engine: str
    walk_through: bool
    diversity: float
    objective: str | None
    min_prominence: float | None
