"""Minutes of mixed load on the server: does its memory or its directory grow, and does anything fail?

Connections search, write over the same ids again and again, and delete some of them, so that as many records live
at the end as in the middle: what still grows is not given back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data import Floats, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, number
from benchmarks.load import WARM_UP, Answers, Load, LoadFailed, Search
from benchmarks.servers.qstore import Qstore, QstoreClient
from qstore_db.engines.embedded.statistics import disk_bytes

QUESTION = (
    "Under minutes of mixed load, do the server's memory and directory keep their size? Does nothing fail?"
)
READERS, WRITERS = 8, 4
WRITES = 200.0
"""A second, all writers together."""
IDS = 200
"""Of each writer: all are written within a few seconds."""
SAMPLES = 120
"""Looks at the server's memory and directory."""
STRETCHES, QUANTILE = 10, 2.306
"""The 97.5 % quantile of Student's t with 10 - 2 degrees of freedom."""
EVERY = 4
"""One write in so many deletes instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """Writes over the same ids, and deletes now and then what was written before."""

    vectors: Floats

    def do(self, client: QstoreClient, connection: int, turn: int) -> None:
        if turn % EVERY == EVERY - 1:
            client.delete(f"{connection}-{(turn - 1) % IDS}")
        else:
            vector = self.vectors[turn % len(self.vectors)]
            client.upsert(f"{connection}-{turn % IDS}", vector, {"label": turn % 10})


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at one moment."""

    at: float
    """Seconds since the load began."""
    resident: int
    """Bytes, pages of mapped files among them."""
    own: int
    """Bytes of `resident` that belong to no file."""
    disk: int
    """Bytes of its directory, as allocated."""


def run(options: Options) -> Report:
    report = Report("soak", QUESTION)
    seconds = min(options.seconds, 2.0) if options.quick else options.seconds
    data = fashion_mnist(options, "l2", options.pick(1_000, 20))
    report.settings = {
        "rows": len(data),
        "dimension": data.base.shape[1],
        "source": data.source,
        "seconds": seconds,
        "readers": READERS,
        "writers": WRITERS,
        "writes_per_s": WRITES,
        "ids_written_over": WRITERS * IDS,
    }
    with ExitStack() as stack:
        server = stack.enter_context(closing(Qstore(data, options.scratch)))
        readers = Load(QstoreClient, server.url, READERS, Search(data.queries))
        stack.enter_context(closing(readers))
        writers = Load(QstoreClient, server.url, WRITERS, Rewrite(data.base))
        stack.enter_context(closing(writers))
        readers.start(seconds)
        writers.start(seconds, WRITES)
        samples = _watched(server, seconds)
        told: dict[str, Answers] = {}
        failures: list[str] = []
        for name, load in (("searches", readers), ("writes", writers)):
            try:
                told[name] = load.finish()
            except LoadFailed as failure:
                failures.append(str(failure))
    _tell(report, samples, told, failures)
    return report


def _watched(server: Qstore, seconds: float) -> list[Sample]:
    """Samples of the server while it is loaded."""
    samples: list[Sample] = []
    began = time.perf_counter()
    while (at := time.perf_counter() - began) < WARM_UP + seconds:
        resident, own = memory(server.pid)
        samples.append(Sample(at, resident, own, disk_bytes(server.directory)))
        time.sleep(seconds / SAMPLES)
    return samples


def memory(pid: int) -> tuple[int, int]:
    """Bytes that a process has in memory: all, and those of no file."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name in ("VmRSS", "RssAnon"):
            found[name] = int(value.split()[0]) * 1024
    return found["VmRSS"], found["RssAnon"]


def slope(at: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """Change of `values` in a unit of `at`, and its 95 % interval: a straight line by least squares.

    It goes through the means of ten stretches. Memory rises and falls while the index is extended, for many samples
    at a time: taken one by one they would pass for independent, and the interval be far too narrow.
    """
    x, y = (
        np.array([part.mean() for part in np.array_split(np.array(of), STRETCHES)]) for of in (at, values)
    )
    x -= x.mean()
    spread = float(x @ x)
    rise = float(x @ y) / spread
    rest = y - y.mean() - rise * x
    reach = QUANTILE * math.sqrt(float(rest @ rest) / (STRETCHES - 2) / spread)
    return rise, rise - reach, rise + reach


def _tell(
    report: Report, samples: Sequence[Sample], told: dict[str, Answers], failures: Sequence[str]
) -> None:
    half = [sample for sample in samples if sample.at >= samples[-1].at / 2]
    hours = [sample.at / 3_600 for sample in half]
    for name, answers in told.items():
        report.row(
            what=name, per_s=answers.rate, p50_ms=answers.percentile(50), p99_ms=answers.percentile(99)
        )
    rates = ", ".join(f"{number(answers.rate)} {name} a second" for name, answers in told.items())
    minutes = samples[-1].at / 60
    report.figure(
        f"requests that failed in {minutes:.1f} minutes of {READERS} readers and {WRITERS} writers",
        f"{len(failures)} connections gave up: {failures[0].splitlines()[-1]}"
        if failures
        else f"none; {rates}",
        Gate(len(failures), 0.0, above=False),
    )
    for name, values in (
        ("memory with mapped files", [sample.resident / 2**20 for sample in half]),
        ("memory of no file", [sample.own / 2**20 for sample in half]),
    ):
        mean, low, high = slope(hours, values)
        report.row(what=name, mib_at_end=values[-1], mib_per_hour=mean, low=low, high=high)
        report.figure(
            f"{name}, slope over the second half",
            f"{mean:+.1f} MiB/h [{low:+.1f}, {high:+.1f}], {number(values[-1])} MiB at the end",
        )
    # An index that is being written lies beside the one that it will replace, which stays until a second newer one
    # is complete: what is not given back shows in the least of a stretch, not in any one sample.
    fifth = len(samples) // 5
    middle, last = (
        min(sample.disk for sample in part)
        for part in (samples[2 * fifth : 3 * fifth + 1], samples[-fifth - 1 :])
    )
    most = max(sample.disk for sample in half) / 2**20
    growth = 100 * (last / middle - 1)
    report.row(what="directory", least_mib=last / 2**20, most_mib=most, growth_percent=growth)
    report.figure(
        "directory, growth of its least size from the middle fifth to the last",
        f"{growth:+.2f} %; {number(last / 2**20)} MiB at the least, {number(most)} at the most",
        Gate(growth, 2.0, above=False),
    )
    for sample in samples:
        report.row(at_s=sample.at, resident=sample.resident, own=sample.own, disk=sample.disk)
    bars = [
        Bar(f"qstore, {name}", Spread.of([of / 2**20 for of in values]))
        for name, values in (
            ("memory with mapped files", [sample.resident for sample in half]),
            ("memory of no file", [sample.own for sample in half]),
            ("directory", [sample.disk for sample in half]),
        )
    ]
    report.panels.append(Panel("second half, least to greatest", "MiB", bars))
