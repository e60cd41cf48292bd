"""`/health` and `/metrics` over loopback: what is said, what is refused, and what a hostile peer cannot hold."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from qstore_db import QuantumDatabase
from qstore_db.engines.embedded.statistics import CollectionStatistics
from qstore_db.errors import ClosedError, ConfigurationError
from qstore_server import http_edge
from qstore_server.binding import bind
from qstore_server.http import Answer, Health, HttpServer
from qstore_server.statistics import Counts, Statistics

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Watched:
    """A server of nothing but the HTTP port, and what it is asked about."""

    statistics: Statistics = field(default_factory=lambda: Statistics(["db.query", "db.insert"]))
    health: Health = field(default_factory=Health)
    stats: Callable[[], Mapping[str, Any]] = dict
    port: int = 0

    async def get(self, path: str, method: str = "GET") -> tuple[int, str, Mapping[str, str]]:
        url = f"http://{HOST}:{self.port}{path}"
        async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
            return answer.status, await answer.text(), answer.headers

    async def scrape(self) -> Samples:
        status, text, _ = await self.get("/metrics")
        assert status == 200
        return parsed(text)

    async def raw(self, sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, self.port)
        try:
            writer.write(sent)
            return await asyncio.wait_for(reader.read(), 60)
        finally:
            writer.close()


def parsed(text: str) -> Samples:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}
    assert len(found) == len(samples), "a series is there twice"
    return found


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    server = HttpServer(watched.statistics, lambda: watched.health, lambda: watched.stats())
    watched.port = await server.start(bind(HOST, 0, "http_port"))
    yield watched
    await server.stop()


async def test_a_healthy_server_says_ok(watched: Watched) -> None:
    status, text, headers = await watched.get("/health")
    assert (status, json.loads(text)) == (200, {"status": "ok"})
    assert headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", ["draining", "read_only"])
async def test_a_server_that_takes_no_requests_says_why(watched: Watched, status: str) -> None:
    watched.health = Health(status, "it stops")
    code, text, _ = await watched.get("/health")
    assert (code, json.loads(text)) == (503, {"status": status, "reason": "it stops"})


async def test_requests_are_shown_by_op_with_their_errors_and_times(watched: Watched) -> None:
    watched.statistics.answered("db.query", 0.00015, None)
    watched.statistics.answered("db.query", 0.3, "timeout")
    watched.statistics.batch(3)
    found = await watched.scrape()
    name = "qstore_server_request_duration_seconds"
    assert found[key(f"{name}_bucket", op="db.query", le="0.0001")] == 0
    assert found[key(f"{name}_bucket", op="db.query", le="0.0002")] == 1
    assert found[key(f"{name}_bucket", op="db.query", le="60.0")] == 2
    assert found[key(f"{name}_bucket", op="db.query", le="+Inf")] == 2
    assert found[key(f"{name}_count", op="db.query")] == 2
    assert found[key(f"{name}_sum", op="db.query")] == pytest.approx(0.30015)
    assert found[key("qstore_server_request_errors_total", op="db.query", code="timeout")] == 1
    assert found[key("qstore_server_batch_queries_bucket", le="2.0")] == 0
    assert found[key("qstore_server_batch_queries_bucket", le="4.0")] == 1
    assert found[key("qstore_server_batch_queries_sum")] == 3


async def test_every_count_and_gauge_is_shown(watched: Watched) -> None:
    for number, count in enumerate(fields(Counts), 1):
        setattr(watched.statistics.counts, count.name, number)
    watched.statistics.refused("full")
    watched.statistics.gauge("queued_requests", lambda: {"near": 7, "scan": 2})
    watched.statistics.gauge("in_flight_bytes", lambda: 4096)
    found = await watched.scrape()
    for number, count in enumerate(fields(Counts), 1):
        assert found[key(f"qstore_server_{count.name}_total")] == number
    assert found[key("qstore_server_connections_refused_total", reason="full")] == 1
    assert found[key("qstore_server_queued_requests", lane="near")] == 7
    assert found[key("qstore_server_queued_requests", lane="scan")] == 2
    assert found[key("qstore_server_in_flight_bytes")] == 4096


async def test_counts_rise_from_scrape_to_scrape(watched: Watched) -> None:
    before: Samples = {}
    for number in range(1, 4):
        watched.statistics.answered("db.query", 0.01 * number, "timeout" if number > 1 else None)
        watched.statistics.counts.sent_bytes += 10
        found = await watched.scrape()
        rising = {
            name: value for name, value in before.items() if re.search("_(total|bucket|count|sum)$", name[0])
        }
        assert all(found[name] >= value for name, value in rising.items())
        assert found[key("qstore_server_sent_bytes_total")] == 10 * number
        assert found[key("qstore_server_request_duration_seconds_count", op="db.query")] == number
        before = found


async def test_a_database_is_shown_with_each_of_its_collections(watched: Watched, tmp_path: Path) -> None:
    name = 'shoes "\\" {1}'
    with QuantumDatabase.connect(tmp_path / "db") as database:
        database.create_collection(name, dimension=4, metric="l2")
        database.insert_many(ids=list("abcde"), vectors=np.ones((5, 4), np.float32), collection=name)
        watched.stats = database.stats
        found = await watched.scrape()
        told = database.stats()
    assert found[key("qstore_database_up")] == 1
    assert found[key("qstore_database_read_only")] == 0
    assert found[key("qstore_database_background_fault", part="builder")] == 0
    assert found[key("qstore_database_commits_total")] == told["commits"] >= 1
    assert found[key("qstore_database_write_requests_total")] == told["write_requests"]
    assert found[key("qstore_database_queued_writes")] == 0
    assert found[key("qstore_database_disk_bytes")] > 0
    assert found[key("qstore_collection_records", collection=name)] == 5
    assert (
        found[key("qstore_collection_memory_bytes", collection=name)]
        == told["collections"][name]["memory_bytes"]
    )
    shown = {series for series, labels in found if ("collection", name) in labels}
    # Not shown: the width of a search, and a sequence that is of no use to a chart; the recall is not known yet.
    assert len(shown) == len(fields(CollectionStatistics)) - 3


async def test_a_read_only_store_and_faults_in_the_background_are_shown(watched: Watched) -> None:
    watched.stats = lambda: {"read_only": "fsync failed", "builder_fault": "no memory", "janitor_fault": None}
    found = await watched.scrape()
    assert found[key("qstore_database_read_only")] == 1
    assert found[key("qstore_database_background_fault", part="builder")] == 1
    assert found[key("qstore_database_background_fault", part="janitor")] == 0


async def test_what_an_engine_does_not_tell_is_left_out(watched: Watched) -> None:
    watched.stats = lambda: {"collections": {"default": {"records": 3, "graph_recall": None}}}
    found = await watched.scrape()
    assert found[key("qstore_collection_records", collection="default")] == 3
    assert [name for name, _ in found if name.startswith("qstore_collection_")] == [
        "qstore_collection_records"
    ]


@pytest.mark.parametrize("error", [ClosedError("the database was closed"), FileNotFoundError("gone")])
async def test_the_servers_own_numbers_are_there_when_the_database_cannot_be_asked(
    watched: Watched, error: Exception
) -> None:
    def fails() -> Mapping[str, Any]:
        raise error

    watched.stats = fails
    watched.statistics.counts.sent_bytes += 1
    found = await watched.scrape()
    assert found[key("qstore_database_up")] == 0
    assert key("qstore_database_read_only") not in found
    assert found[key("qstore_server_sent_bytes_total")] == 1


async def test_two_scrapes_at_once_are_both_whole_and_ask_one_after_the_other(watched: Watched) -> None:
    inside, most = 0, 0
    lock = threading.Lock()

    def slow() -> Mapping[str, Any]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.1)
        with lock:
            inside -= 1
        return {"sequence": 7}

    watched.stats = slow
    watched.statistics.answered("db.query", 0.01, None)
    first, second = await asyncio.gather(watched.scrape(), watched.scrape())
    assert first == second
    assert first[key("qstore_database_sequence")] == 7
    assert most == 1


async def test_health_is_answered_while_the_database_is_still_asked(watched: Watched) -> None:
    loop_thread, asked_in, go_on = threading.get_ident(), [0], threading.Event()

    def slow() -> Mapping[str, Any]:
        asked_in[0] = threading.get_ident()
        assert go_on.wait(60)
        return {}

    watched.stats = slow
    scrape = asyncio.create_task(watched.scrape())
    while not asked_in[0]:
        await asyncio.sleep(0.01)
    status, _, _ = await watched.get("/health")
    assert status == 200
    assert not scrape.done()
    go_on.set()
    await scrape
    assert asked_in[0] != loop_thread


async def test_gauges_are_read_on_the_event_loop(watched: Watched) -> None:
    threads: list[int] = []
    watched.statistics.gauge("connections", lambda: threads.append(threading.get_ident()) or 0)
    await watched.scrape()
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/health/x", "/metric", "/../etc/passwd", "//health", "/HEALTH"]
)
async def test_nothing_else_is_served(watched: Watched, path: str) -> None:
    answer = await watched.raw(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("path", ["/health", "/metrics", "/metrics?name=x"])
async def test_head_answers_like_get_without_the_body(watched: Watched, path: str) -> None:
    got, had = await watched.get(path), await watched.get(path, "HEAD")
    assert (had[0], had[1]) == (200, "")
    assert int(had[2]["Content-Length"]) == len(got[1].encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"])
async def test_only_get_and_head_are_allowed(watched: Watched, method: str) -> None:
    status, _, headers = await watched.get("/metrics", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


REQUESTS = {
    "answered": (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 200),
    "an older one": (b"GET /health HTTP/1.0\r\n\r\n", 200),
    "not found": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    "not allowed": (b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 405),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
    "no method of HTTP": (b"FETCH /health HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "two lengths": (b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "a long path": (b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a long field": (b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000 + b"\r\n\r\n", 400),
    "many fields": (b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 500 + b"\r\n", 400),
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
async def test_every_answer_ends_the_connection_is_not_kept_and_names_no_version(
    watched: Watched, name: str
) -> None:
    request, status = REQUESTS[name]
    answer = await watched.raw(request)
    head = answer.partition(b"\r\n\r\n")[0].decode()
    assert re.match(rf"HTTP/1\.[01] {status} ", head)
    assert re.findall(r"(?im)^server: *(.*?)\r?$", head) == ["qstore"]
    assert re.findall(r"(?im)^cache-control: *(.*?)\r?$", head) == ["no-store"]
    assert b"aiohttp" not in answer
    assert b"Python" not in answer


async def test_a_fault_is_answered_without_its_details_and_logged_with_them(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Mapping[str, Any]:
        raise KeyError("secret")

    watched.stats = fails
    status, text, headers = await watched.get("/metrics")
    assert status == 500
    assert "secret" not in text
    assert headers["Server"] == "qstore"
    assert "secret" in caplog.text
    watched.stats = dict
    await watched.scrape()


async def test_garbage_leaves_no_line_in_the_log(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    for request, status in REQUESTS.values():
        if status == 400:
            await watched.raw(request)
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []


@pytest.mark.parametrize(
    "sent", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: x\r\nX-", b"POST /x HTTP/1.1\r\n"]
)
async def test_a_peer_that_sends_too_slowly_is_cut_off(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_edge, "LIFETIME", 0.2)
    reader, writer = await asyncio.open_connection(HOST, watched.port)
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_a_peer_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def much(method: str, path: str) -> Answer:
        return Answer(200, bytes(64 << 20))  # more than sockets hold

    monkeypatch.setattr(http_edge, "LIFETIME", 0.2)
    listener = http_edge.HttpListener(much)
    reader, writer = await asyncio.open_connection(
        HOST, await listener.open(bind(HOST, 0, "http_port")), limit=1024
    )
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.5)
    received = 0
    while part := await asyncio.wait_for(reader.read(1 << 20), 60):
        received += len(part)
    assert received < 64 << 20
    writer.close()
    await listener.close()


async def test_connections_beyond_the_bound_are_closed_and_places_come_back(watched: Watched) -> None:
    held = [await asyncio.open_connection(HOST, watched.port) for _ in range(http_edge.CONNECTIONS)]
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await watched.get("/health")
    for _, writer in held:
        writer.close()
        await writer.wait_closed()
    for _ in range(1000):
        try:
            assert (await watched.get("/health"))[0] == 200
            break
        except aiohttp.ClientError:
            await asyncio.sleep(0.01)
    else:
        pytest.fail("no place came back")


async def test_a_stopped_server_is_gone_can_stop_again_and_start_again() -> None:
    asked = threading.Event()
    ended: list[bool] = []

    def slow() -> Mapping[str, Any]:
        asked.set()
        threading.Event().wait(0.3)
        ended.append(True)
        return {}

    watched = Watched()
    server = HttpServer(watched.statistics, Health, slow)
    await server.stop()
    watched.port = await server.start(bind(HOST, 0, "http_port"))
    scrape = asyncio.create_task(watched.scrape())
    await asyncio.to_thread(asked.wait, 60)
    await server.stop()
    assert ended == [True]
    assert (await scrape)[key("qstore_database_up")] == 1, "what was accepted is answered"
    with pytest.raises(aiohttp.ClientConnectorError):
        await watched.get("/health")
    await server.stop()
    watched.port = await server.start(bind(HOST, 0, "http_port"))
    assert (await watched.get("/health"))[0] == 200
    await server.stop()


async def test_the_registry_of_the_process_is_left_alone(watched: Watched) -> None:
    before = set(REGISTRY._collector_to_names)
    found = await watched.scrape()
    assert set(REGISTRY._collector_to_names) == before
    assert all(name.startswith("qstore_") for name, _ in found)


@pytest.mark.parametrize("package", ["aiohttp", "prometheus_client"])
async def test_a_missing_package_is_answered_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("http_edge", "metrics"):
        monkeypatch.delitem(sys.modules, f"qstore_server.{module}", raising=False)
    with pytest.raises(ConfigurationError, match=r'pip install "qstore-db\[server\]"') as refused:
        await HttpServer(Statistics([]), Health, dict).start([])
    assert refused.value.subject == package


def test_what_serves_http_is_loaded_when_a_port_is_opened_and_not_before() -> None:
    program = (
        "import sys; sys.path[:0] = sys.argv[1:]; import qstore_server.http, qstore_server.statistics;"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'aiohttp', 'prometheus_client'}))"
    )
    command = [sys.executable, "-c", program, str(ROOT), str(ROOT / "server")]
    answer = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]"
