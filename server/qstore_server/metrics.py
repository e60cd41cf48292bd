"""What `/metrics` says, in the text format of Prometheus. Needs prometheus-client, so it is imported when wanted.

The names are part of the interface: units stand in them (`_seconds`, `_bytes`), and what only rises ends in
`_total`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from qstore_server.statistics import Histogram, Reading, Statistics, decades

_SHOWN: Final = frozenset((*decades(1, 2, 5), math.inf))
"""The bounds of latencies that are shown: all 63 for every op would make a scrape long."""

_DATABASE: Final = (
    ("sequence", "sequence", "The last op that is acknowledged."),
    ("write_requests_total", "write_requests", "Writes asked for."),
    ("commits_total", "commits", "Group commits: requests over commits is the mean group."),
    ("queued_writes", "queued_requests", "Writes that wait for their commit."),
    ("slowed_seconds_total", "slowed_seconds", "How long writers were held back for the index."),
    ("disk_bytes", "disk_bytes", "What the directory takes on disk."),
)
"""Name, key in the database's statistics, meaning."""

_COLLECTION: Final = (
    ("records", "records", "Living records."),
    ("dead_rows", "dead_rows", "Superseded and deleted rows that are still stored."),
    ("tail_rows", "tail_rows", "Rows not yet in a sealed segment; searched exactly."),
    ("segments", "segments", "Sealed segments."),
    ("unbuilt_segments", "unbuilt_segments", "Sealed segments that wait for their graph; searched exactly."),
    ("index_lag_rows", "index_lag_rows", "Rows that no graph covers yet, though one is wanted."),
    ("unlinked_rows", "unlinked_rows", "Rows that the graph of nearest neighbours does not hold yet."),
    ("graph_recall_ratio", "graph_recall", "Lowest recall at ten that a graph measured of itself."),
    ("memory_bytes", "memory_bytes", "What is held for search; mapped files count in full."),
    ("link_bytes", "link_bytes", "The graph of nearest neighbours, beside that."),
    ("held_snapshots", "held_snapshots", "Snapshots that a result or reader still holds."),
)
"""The same for each collection."""


def exposition(
    statistics: Statistics, gauges: Mapping[str, Reading], database: Mapping[str, Any] | None
) -> bytes:
    """All metrics as text. `database` is what its `stats()` returned, None where it could not be asked.

    May be called in any thread; the gauges were read by the one that owns what they show.
    """
    registry = CollectorRegistry()  # of this call: nothing is shared between two that run at once
    registry.register(_Scrape(statistics, gauges, database))
    return generate_latest(registry)


class _Scrape(Collector):
    """Makes the metrics of one scrape."""

    def __init__(
        self, statistics: Statistics, gauges: Mapping[str, Reading], database: Mapping[str, Any] | None
    ) -> None:
        self._statistics = statistics
        self._gauges = gauges
        self._database = database

    def collect(self) -> Iterator[Metric]:
        yield from self._requests()
        yield from self._counters()
        for name, now in self._gauges.items():
            yield _gauge(name, now)
        up = 0 if self._database is None else 1
        yield GaugeMetricFamily("qstore_database_up", "Whether the database could be asked.", up)
        if self._database is not None:
            yield from _stored(self._database)

    def _requests(self) -> Iterator[Metric]:
        latency = HistogramMetricFamily(
            "qstore_server_request_duration_seconds",
            "From a request's arrival to its answer, errors included.",
            labels=["op"],
        )
        errors = CounterMetricFamily(
            "qstore_server_request_errors", "Answers that were errors.", labels=["op", "code"]
        )
        for op, found in self._statistics.operations.items():
            for code, count in found.errors.items():
                errors.add_metric([op, code], count)
            latency.add_metric([op], _buckets(found.latency, _SHOWN), found.latency.sum)
        batches = self._statistics.batches
        yield latency
        yield errors
        yield HistogramMetricFamily(
            "qstore_server_batch_queries",
            "Queries that shared one search.",
            _buckets(batches, frozenset((*batches.bounds, math.inf))),
            batches.sum,
        )

    def _counters(self) -> Iterator[Metric]:
        for count in fields(self._statistics.counts):
            value = getattr(self._statistics.counts, count.name)
            yield CounterMetricFamily(f"qstore_server_{count.name}", count.metadata["meaning"], value)
        refused = CounterMetricFamily(
            "qstore_server_connections_refused", "Connections not accepted.", labels=["reason"]
        )
        for reason, times in self._statistics.refusals.items():
            refused.add_metric([reason], times)
        yield refused


def _buckets(histogram: Histogram, shown: frozenset[float]) -> list[tuple[str, float]]:
    found = [(bound, count) for bound, count in histogram.cumulative() if bound in shown]
    return [(floatToGoString(bound), count) for bound, count in found]  # type: ignore[no-untyped-call]


def _gauge(name: str, now: Reading) -> Metric:
    meaning = f"{name.replace('_', ' ').capitalize()} at this moment."
    if not isinstance(now, Mapping):
        return GaugeMetricFamily(f"qstore_server_{name}", meaning, now)
    lanes = GaugeMetricFamily(f"qstore_server_{name}", meaning, labels=["lane"])
    for lane, value in now.items():
        lanes.add_metric([lane], value)
    return lanes


def _stored(database: Mapping[str, Any]) -> Iterator[Metric]:
    """What an engine does not tell, or not yet, is left out: a made-up 0 would look like a measurement."""
    read_only = int(database.get("read_only") is not None)
    yield GaugeMetricFamily("qstore_database_read_only", "Whether a fault made it refuse writes.", read_only)
    faults = GaugeMetricFamily(
        "qstore_database_background_fault", "Whether background work failed.", labels=["part"]
    )
    for part in ("builder", "janitor"):
        faults.add_metric([part], int(database.get(f"{part}_fault") is not None))
    yield faults
    for name, key, meaning in _DATABASE:
        if database.get(key) is not None:
            family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield family(f"qstore_database_{name}", meaning, database[key])
    collections: Mapping[str, Mapping[str, Any]] = database.get("collections", {})
    for name, key, meaning in _COLLECTION:
        each = GaugeMetricFamily(f"qstore_collection_{name}", meaning, labels=["collection"])
        for collection, told in collections.items():
            if told.get(key) is not None:
                each.add_metric([collection], told[key])
        yield each
