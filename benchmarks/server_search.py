"""Plain queries to a server over 1, 16 and 64 connections, beside two servers and a bare loop around FAISS."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from benchmarks.data import Integers, Truth, VectorSet, fashion_mnist
from benchmarks.harness import Bar, Gate, Options, Panel, Report, Spread, number, ratio
from benchmarks.load import PROCESSES, WARM_UP, Answers, Load, Search
from benchmarks.peers import TOLERANCE, K, missing, tune
from benchmarks.servers.base import Client, Server, processor_seconds
from benchmarks.servers.chroma import Chroma
from benchmarks.servers.floor import Floor
from benchmarks.servers.postgres import Postgres
from benchmarks.servers.qstore import TARGET, Qstore

QUESTION = (
    "How fast does the server answer plain queries, beside two other servers and a bare loop around FAISS?"
)
MAKERS: tuple[type[Server], ...] = (Qstore, Floor, Postgres, Chroma)
"""Ours first: the floor has to reach its recall."""
OURS, FLOOR = Qstore.name, Floor.name


@dataclass(frozen=True, slots=True)
class Turn:
    """What one server did in one turn of load."""

    qps: float
    p50: float
    """ms"""
    p99: float
    """ms"""
    recall: float
    """Of the queries that were answered in this turn."""
    server_us: float
    """Processor time that the server took for one query."""
    client_us: float
    """The same of its clients."""


Turns: TypeAlias = "dict[str, list[Turn]]"
Figure: TypeAlias = "Callable[[Turn], float]"


def run(options: Options) -> Report:
    report = Report("server_search", QUESTION)
    data = fashion_mnist(options, "l2", options.pick(1_000, 20))
    truth = Truth(data)
    true = truth.all_nearest(K)
    seconds, rounds = (0.2, 1) if options.quick else (3.0, 5)
    connections = (2,) if options.quick else (1, 16, 64)
    report.settings = {
        "rows": len(data),
        "dimension": data.base.shape[1],
        "metric": data.metric,
        "source": data.source,
        "queries": len(data.queries),
        "rounds": rounds,
        "seconds_a_turn": seconds,
        "load": f"{PROCESSES} processes, blocking clients, a thread a connection; all servers on TCP, all running",
    }
    servers: list[Server] = []
    with ExitStack() as stack:
        for maker in MAKERS:
            if (why := missing(maker)) is not None:
                report.skipped[maker.name] = why
                continue
            started = time.perf_counter()
            server = stack.enter_context(closing(maker(data, options.scratch)))
            built = time.perf_counter() - started
            # At equal or higher recall: a peer is let off nothing, and the floor has to reach ours.
            ours = truth.recall(list(servers[0].search(data.queries)), true) if maker.name == FLOOR else 0.0
            wanted = max(TARGET + TOLERANCE, ours)
            width, reached = tune(server, data.queries, truth, true, wanted)
            report.row(server=server.name, built_s=built, width=width, recall=reached, note=server.note)
            servers.append(server)
        for count in connections:
            turns = _turns(servers, count, data, truth, true, seconds, rounds)
            _tell(report, turns, count)
            _judge(report, turns, count)
    return report


def _turns(
    servers: Sequence[Server],
    connections: int,
    data: VectorSet,
    truth: Truth,
    true: Integers,
    seconds: float,
    rounds: int,
) -> Turns:
    """The turns of every server, A B C D A B C D ...; a first round warms up and is dropped."""
    turns: Turns = {server.name: [] for server in servers}
    with ExitStack() as stack:
        loads: dict[str, Load[Client]] = {}
        for server in servers:
            load = Load(server.client, server.url, connections, Search(data.queries))
            loads[server.name] = stack.enter_context(closing(load))
        for turn in range(rounds + 1):
            for server in servers:
                before = processor_seconds(server.pid)
                answers = loads[server.name].run(seconds)
                spent = (processor_seconds(server.pid) - before) / (seconds + WARM_UP)
                if turn:
                    turns[server.name].append(_turn(answers, spent, truth, true))
    return turns


def _turn(answers: Answers, spent: float, truth: Truth, true: Integers) -> Turn:
    """`spent`: seconds of processor time of the server for each second of load."""
    found = {query: np.array(ids, np.int64) for query, ids in answers.kept.items()}
    recall = float(np.mean([truth.share(query, ids, true[query]) for query, ids in found.items()]))
    return Turn(
        answers.rate,
        answers.percentile(50),
        answers.percentile(99),
        recall,
        server_us=1e6 * spent / answers.rate,
        client_us=1e6 * answers.work / answers.rate,
    )


def _tell(report: Report, turns: Turns, connections: int) -> None:
    """Everything measured, and a line and two panels of it for each number of connections."""
    shown: list[str] = []
    costs: list[str] = []
    for name, its in turns.items():
        qps, p50, p99 = (Spread.of(_each(its, of)) for of in (_qps, _p50, _p99))
        recall = min(turn.recall for turn in its)
        server, client = (Spread.of(_each(its, of)) for of in (_server_us, _client_us))
        report.row(
            server=name,
            connections=connections,
            qps=qps,
            p50_ms=p50,
            p99_ms=p99,
            recall=recall,
            server_us_a_query=server,
            client_us_a_query=client,
        )
        costs.append(f"{name} {server.median:.0f} + {client.median:.0f} us")
        shown.append(f"{name} {number(qps.median)} QPS, {p50.median:.2f} ({p99.median:.2f}) ms")
    report.figure(f"{_said(connections)}: answers a second, p50 (p99)", "; ".join(shown))
    report.figure(
        f"{_said(connections)}: processor time a query, server + client",
        "; ".join(costs),
    )
    for title, unit, of in (("queries a second", "QPS", _qps), ("p99", "ms", _p99)):
        bars = [
            Bar(f"{name} ({np.mean([turn.recall for turn in its]):.3f})", Spread.of(_each(its, of)))
            for name, its in turns.items()
        ]
        report.panels.append(Panel(f"{_said(connections)}: {title} (recall@10)", unit, bars))


def _judge(report: Report, turns: Turns, connections: int) -> None:
    """Ours against each other, turn by turn, with the gates that there are."""
    recall = min(turn.recall for turn in turns[OURS])
    report.figure(f"{_said(connections)}: recall@10 under load", f"{recall:.4f}", Gate(recall, TARGET))
    gates: dict[tuple[str, str], tuple[float, bool]] = {
        (FLOOR, "QPS"): (0.8, True),
        (FLOOR, "p99"): (1.5, False),
    }
    if connections == 1:
        gates[Postgres.name, "p50"] = (0.6, False)
    if connections == 16:
        gates[Postgres.name, "QPS"] = (3.0, True)
        gates[Chroma.name, "QPS"] = (20.0, True)
    for name, its in turns.items():
        if name == OURS:
            continue
        for what, of in (("QPS", _qps), ("p50", _p50), ("p99", _p99)):
            over = ratio(_each(turns[OURS], of), _each(its, of))
            gate = gates.get((name, what))
            report.figure(
                f"{_said(connections)}: {what}, {OURS} / {name}",
                f"{over.median:.2f} ({over.low:.2f} to {over.high:.2f})",
                None if gate is None else Gate(over.median, *gate),
            )


def _each(turns: Sequence[Turn], of: Figure) -> list[float]:
    return [of(turn) for turn in turns]


def _qps(turn: Turn) -> float:
    return turn.qps


def _p50(turn: Turn) -> float:
    return turn.p50


def _p99(turn: Turn) -> float:
    return turn.p99


def _server_us(turn: Turn) -> float:
    return turn.server_us


def _client_us(turn: Turn) -> float:
    return turn.client_us


def _said(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"
