"""The arguments of the two searches, as the caller gave them: made by the faces, checked by `Reads`.

The defaults are those of the faces' signatures; over a connection only what differs from them is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qstore_db.records import ContextLike


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What a query and a tunnelling search have in common."""

    top_k: int = 10
    context: ContextLike = None
    context_strength: float = 0.5
    soft: bool = False
    denoise: bool = False
    coherence_time: float | None = None
    filter: Mapping[str, Any] | None = None
    include_vectors: bool = False
    collection: str = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions(SearchOptions):
    scale: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TunnelOptions(SearchOptions):
    barrier_threshold: float | None = None
    barrier_scale: str = "rank"
    tunneling_strength: float = 1.0
    beyond_only: bool = True
    candidates: int = 2000
    engine: str = "diffusion"
    walk_through: bool = False
    diversity: float = 0.0
    objective: str | None = None
    min_prominence: float | None = None
