"""The Engine protocol: what the database needs of a place that stores and searches vectors.

An engine knows collections, records, filters and context membership. It knows nothing of how contexts rank:
that is `qstore_db.search`, the same code over every engine. Whatever an engine cannot do is a `Capabilities`
flag, so that it can be refused by name. `qstore_db.testing.engines` holds the conformance suite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qstore_db.engines.links import Links, Nodes
from qstore_db.errors import WaitTimeoutError
from qstore_db.records import Change, Filter, Group, Metadata, Metric, Record, Superposition, Vectors

Floats: TypeAlias = NDArray[np.float64]
IndexKind: TypeAlias = Literal["auto", "flat", "hnsw"]
StorageKind: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a collection is; fixed at creation except `index` and `storage`, which `reindex` changes."""

    name: str
    dimension: int
    metric: Metric = Metric.COSINE
    index: IndexKind = "auto"
    """"flat" searches exactly, "hnsw" and "auto" build a graph once a segment is full."""
    storage: StorageKind = "float32"
    """Of the graph's vectors; the stored records keep float32 always."""
    target_recall: float = 0.99
    """Share of the true ten nearest that a graph answer must hold, in (0, 1]."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can promise; False is refused by name where a call needs it."""

    snapshot_isolation: bool
    """A view sees one commit, metadata and vectors alike."""
    insert_if_absent: bool
    compare_and_set: bool
    links: bool
    """Views carry the graph of nearest neighbours, once it is made."""
    scan: bool
    """`View.scan` gives the exact distances of everything a selection admits."""
    vectors: Literal["exact", "normalised", "half"]
    """How precisely `Record.vector` comes back."""
    groups: bool = False
    """A `Patch` moves numbers of other records in the same commit: the engine is a `GroupingEngine` too."""
    receipts: bool = False
    """`Engine.write` takes a `key`, under which a write is applied once however often it is sent."""
    watch: bool = False
    """Changes can be followed as they happen: the engine is a `WatchableEngine` too."""


@dataclass(frozen=True, slots=True)
class Put:
    """Write a whole record. With `exclusive`, refused if the id exists (insert)."""

    id: str
    vector: Vectors
    contexts: Superposition = Superposition()
    metadata: Metadata = field(default_factory=dict)
    expires_at: float | None = None
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Patch:
    """Change parts of a record; None leaves a part as it is, `metadata` replaces the named top-level
    fields."""

    id: str
    vector: Vectors | None = None
    contexts: Superposition | None = None
    metadata: Metadata | None = None
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove a record; an id that is not there is no error."""

    id: str


@dataclass(frozen=True, slots=True)
class DeleteWhere:
    """Remove every record that a selection admits, as of the moment the write is applied."""

    selection: Selection


Write: TypeAlias = "Put | Patch | Delete | DeleteWhere"


@dataclass(frozen=True, slots=True)
class Written:
    """An acknowledged write: the last op sequence it was given, and how many records it touched."""

    sequence: int
    count: int


class Pending(Protocol):
    """A write on its way. It is durable, or has failed, once the callback runs."""

    def result(self) -> Written:
        """Block until acknowledged; raises the write's own error."""
        ...

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call once acknowledged, from whatever thread acknowledged it."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records a search may return: all that `filter` admits, hold any of `contexts`, and live at
    `now`."""

    filter: Filter | None = None
    contexts: tuple[str, ...] = ()
    now: float = 0.0
    """Seconds since the epoch; records with `expires_at` <= now are not there."""


class Hits(Protocol):
    """Some records of one view, as columns. Fetching ids, weights, vectors and records is lazy.

    `raw` is (m,) float64: squared Euclidean distance (cosine: of the unit vectors), or the negated dot
    product.
    """

    @property
    def raw(self) -> Floats: ...

    exact: bool
    """Whether these are certain to be the nearest that were asked for."""
    warnings: tuple[str, ...]

    def __len__(self) -> int: ...
    @property
    def places(self) -> Nodes:
        """(m,) where the records stand in their view; with `View.links`, these are its nodes."""
        ...

    def take(self, order: NDArray[np.intp]) -> Hits: ...
    def refined(self) -> Hits:
        """The same hits with `raw` summed in float64: a record's value then depends on nothing but the
        query."""
        ...

    def ids(self) -> list[str]: ...
    def rows(self) -> Nodes:
        """(m,) the versions of the records: op sequences of their last writes."""
        ...

    def weights(self, contexts: Sequence[str], *, denoise: bool = False) -> Floats:
        """Born weights, (m, len(contexts)) float64; 0 where a record lacks a context.

        denoise: smoothed over `View.links`; what has no links keeps its own.
        """
        ...

    def updated(self) -> Floats:
        """(m,) float64, seconds since the epoch of each record's last write: its `Record.updated_at`."""
        ...

    def vectors(self) -> Vectors:
        """(m, d) float32 in search space: unit rows under cosine, as stored otherwise."""
        ...

    def between(self, others: Hits) -> Vectors:
        """(m, n) float32, raw distances of each to each of `others` (n,); for few of both."""
        ...

    def bodies(self) -> list[bytes]:
        """The records as of this view without their vectors, as `Body.packed` packs them."""
        ...

    def records(self, *, vectors: bool = True) -> list[Record]:
        """The records as of this view. Without `vectors` theirs are empty, (0,), which costs less."""
        ...


class View(Protocol):
    """One immutable state of a collection. Every call on it answers from that state."""

    spec: CollectionSpec
    sequence: int
    links: Links | None
    """The graph of nearest neighbours over the first `len(links)` places; None while there is none."""

    def __len__(self) -> int:
        """How many places there are, those of dead records included."""
        ...

    def count(self, selection: Selection) -> int: ...
    def search(self, queries: Vectors, k: int, selection: Selection) -> Sequence[Hits]:
        """For each row of (q, d): the k nearest of the selection, nearest first, ties by id.

        Within `target_recall`, whatever the selection; `Hits.exact` says when it is certain.
        """
        ...

    def scan(self, query: Vectors, selection: Selection) -> Hits:
        """Distances from (d,) to everything the selection admits, to float32 precision, in no promised
        order."""
        ...

    def eligible(self, selection: Selection) -> NDArray[np.bool_] | None:
        """Which places the selection admits, (len(self),); None where it is all of them."""
        ...

    def numbers(self, path: str) -> Floats:
        """(len(self),) the number at a metadata path, NaN where there is none (or a list of them)."""
        ...

    def place_of(self, version: int) -> int | None:
        """Where the record of that version stands; None where this view does not hold it."""
        ...

    def at(self, query: Vectors, places: Nodes) -> Hits:
        """The records at `places` (m,), in that order; `raw` is float32-precise, taken when first looked at."""
        ...

    def sample(self, count: int, seed: int) -> Hits:
        """Up to `count` live records drawn without replacement, reproducibly for this state and seed."""
        ...

    def scroll(self, selection: Selection, limit: int, after: int) -> tuple[list[Record], int | None]:
        """Up to `limit` records with versions above `after`, oldest write first, and where to go on."""
        ...


class Engine(Protocol):
    """Stores collections of records and searches them. Safe to use from many threads."""

    capabilities: Capabilities

    def create_collection(self, spec: CollectionSpec) -> None: ...
    def rename_collection(self, old: str, new: str) -> None: ...
    def drop_collection(self, name: str) -> None: ...
    def collections(self) -> list[CollectionSpec]: ...
    def write(self, collection: str, writes: Sequence[Write], *, key: bytes | None = None) -> Pending:
        """Apply all of `writes` or none, durably, visible to every view taken after the acknowledgement.

        key: 16 bytes that no other request has, as `qstore_db.wire.keys` draws them; only with
        `Capabilities.receipts`. A request that was applied under it before, be it by an earlier process, is not
        applied again: the first answer comes back.
        A request that failed may be sent again under its key. Answers are remembered for an hour, unless a very
        great many come after. Raises ArgumentError where the key belongs to another request.
        """
        ...

    def fetch(self, collection: str, ids: Sequence[str], now: float) -> list[Record | None]: ...
    def view(self, collection: str) -> View: ...
    def statistics(self) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


class GroupingEngine(Protocol):
    """What an engine with `Capabilities.groups` does besides."""

    def create_group(self, group: Group) -> None:
        """From now on a `Patch` of one member moves the others, as `create_group` of a database says.

        Raises GroupExistsError, CollectionNotFoundError, RecordNotFoundError naming the first missing member.
        """
        ...

    def groups(self) -> list[Group]:
        """Those of all collections, sorted by name."""
        ...

    def drop_group(self, name: str) -> None:
        """Raises GroupNotFoundError."""
        ...


class Feed(Protocol):
    """The changes of one collection after an op sequence, for one reader.

    The latest state by id, at least once, in rising sequences: an op that another superseded before it was read
    is left out, since that one comes. A write of many records may come in parts. `next` and `wait` raise
    ClosedError, and CollectionNotFoundError once the collection is dropped, whatever has its name by then.
    """

    @property
    def sequence(self) -> int:
        """Everything up to it was given: where another feed goes on, also after a restart."""
        ...

    def next(self, limit: int) -> list[Change]:
        """The changes among the next `limit` ops of all collections. Where none is of this one the list is
        empty, and whether there are more `due` tells.

        A record whose `expires_at` is over comes as deleted. Raises SequenceExpired where the next op is no longer
        kept; that of a feed that is waited on is.
        """
        ...

    def due(self) -> bool:
        """Whether `next` has something to give or to raise. If not, `sequence` moves up to the present."""
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Block until something is due, at most `timeout` seconds; whether it is."""
        ...


class WatchableEngine(Protocol):
    """What an engine with `Capabilities.watch` does besides."""

    @property
    def sequence(self) -> int:
        """The last op that every read shows: what a feed of all that is to come starts from."""
        ...

    def feed(self, collection: str, since: int) -> Feed:
        """Raises CollectionNotFoundError, ArgumentError for a `since` that no op has had yet, and SequenceExpired
        where the op after it is no longer kept."""
        ...

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call after each commit, drop and close, from the thread that did it, for which `callback` must be quick;
        what it raises is logged. Returns what ends it.

        What happened before is not told: look at `Feed.due` once subscribed.
        """
        ...


def not_indexed(timeout: float | None) -> WaitTimeoutError:
    """What `wait_indexed` raises when its time is over."""
    return WaitTimeoutError(f"the index was not complete after {timeout} s; it goes on in the background")
