"""What the embedded engine says about itself: frozen values, the debugging surface."""

from __future__ import annotations

from dataclasses import dataclass


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
    graph_recall: float | None
    """Lowest recall at ten that a graph measured of itself while it was built."""
    graph_width: int | None
    """Widest efSearch in use for ten neighbours."""
    memory_bytes: int
    """Vectors, links, ids and columns held for search; mapped files count in full."""
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
