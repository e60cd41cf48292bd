"""What the embedded engine says about itself: frozen values, the debugging surface."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from qstore_db.engines.embedded.builder import unbuilt_segments
from qstore_db.engines.embedded.collection import Collection
from qstore_db.engines.embedded.segment import Segment, Tail


@dataclass(frozen=True, slots=True)
class CollectionStatistics:
    """One collection at one moment."""

    records: int
    """Living rows, expired ones included until they are purged."""
    dead_rows: int
    tail_rows: int
    """Rows not yet in a sealed segment; they are searched exactly."""
    segments: int
    unbuilt_segments: int
    """Sealed segments still waiting for their graph; searched exactly meanwhile."""
    index_lag_rows: int
    """Rows that no graph covers yet, though one is wanted."""
    unlinked_rows: int
    """Rows that the graph of nearest neighbours does not hold yet; tunnelling reaches them as leaves, or builds
    the exact graph of its candidates where there is no other."""
    graph_recall: float | None
    """Lowest recall at ten that a graph measured of itself while it was built."""
    graph_width: int | None
    """Widest efSearch in use for ten neighbours."""
    memory_bytes: int
    """Vectors, graphs, ids and columns held for search; mapped files count in full."""
    link_bytes: int
    """The graph of nearest neighbours, beside them."""
    held_snapshots: int
    """Snapshots that a result or reader still holds; old ones keep superseded rows stored."""
    indexed_sequence: int
    """Op sequence of the newest index on disk; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """The engine and its collections at one moment."""

    sequence: int
    """The last acknowledged op."""
    write_requests: int
    commits: int
    """Group commits; requests divided by commits is the mean group size."""
    queued_requests: int
    slowed_seconds: float
    """How long writers were held back because too many segments waited for their graph."""
    purged_sequence: int
    """Superseded rows up to this op have been given back."""
    disk_bytes: int
    read_only: str | None
    """Why the store refuses writes, if it does."""
    builder_fault: str | None
    janitor_fault: str | None
    verification: str
    """"not needed", "running", "passed", or what the check after an unclean stop found."""
    collections: dict[str, CollectionStatistics]


def describe(collection: Collection, indexed: int) -> CollectionStatistics:
    """`indexed` is the op sequence of the newest index on disk."""
    snapshot = collection.current
    parts, spec = snapshot.parts, snapshot.spec
    segments = [part.source for part in parts if isinstance(part.source, Segment)]
    graphs = [segment.graph for segment in segments if segment.graph is not None]
    tail_rows = sum(part.n for part in parts if isinstance(part.source, Tail))
    waiting = sum(segment.n for segment in segments if segment.wants_graph(spec))
    return CollectionStatistics(
        records=sum(part.alive_count for part in parts),
        dead_rows=sum(part.dead_count for part in parts),
        tail_rows=tail_rows,
        segments=len(segments),
        unbuilt_segments=unbuilt_segments(parts, spec),
        index_lag_rows=0 if spec.index == "flat" else tail_rows + waiting,
        unlinked_rows=len(snapshot) - (0 if snapshot.links is None else len(snapshot.links)),
        graph_recall=min((graph.width.recall for graph in graphs), default=None),
        graph_width=max((graph.width.ten for graph in graphs), default=None),
        memory_bytes=sum(part.source.memory() for part in parts),
        link_bytes=0 if snapshot.links is None else snapshot.links.nbytes,
        held_snapshots=len(collection.readers),
        indexed_sequence=indexed,
    )


def disk_bytes(directory: Path) -> int:
    """What the files below a directory take on disk."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # index files come and go
            total += path.stat().st_blocks * 512 if path.is_file() else 0
    return total
