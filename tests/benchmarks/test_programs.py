"""Every benchmark program runs, and what it writes is complete. Nothing here judges a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from benchmarks.__main__ import PROGRAMS

ROOT = Path(__file__).resolve().parents[2]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a quick run of all programs filled."""
    out = tmp_path_factory.mktemp("results")
    scratch = tmp_path_factory.mktemp("scratch")
    ended = bench("--quick", "--out", str(out), "--scratch", str(scratch))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert list(scratch.iterdir()) == []
    return out


def read(results: Path, program: str) -> dict[str, Any]:
    return json.loads((results / f"{program}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_writes_figures_rows_and_the_machine_they_were_measured_on(
    results: Path, program: str
) -> None:
    data = read(results, program)
    assert data["program"] == program
    assert data["figures"]
    assert data["rows"]
    assert data["settings"]["quick"] is True
    assert data["environment"]["cpus"] >= 1
    assert "numpy" in data["environment"]["packages"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_draws_a_plot(results: Path, program: str) -> None:
    assert (results / f"{program}.png").read_bytes().startswith(b"\x89PNG")


def test_every_peer_is_measured_or_named_as_skipped(results: Path) -> None:
    data = read(results, "embedded_search")
    told = {row["peer"] for row in data["rows"] if "peer" in row} | set(data["skipped"])
    assert {
        "faiss HNSW",
        "faiss flat",
        "hnswlib",
        "lancedb",
        "chromadb",
        "qdrant-client local",
    } <= told


def test_every_server_is_measured_or_named_as_skipped(results: Path) -> None:
    data = read(results, "server_search")
    loaded = {row["server"] for row in data["rows"] if "connections" in row}
    assert {"qstore", "floor"} <= loaded
    assert loaded | set(data["skipped"]) == {"qstore", "floor", "pgvector", "Chroma"}
    assert all(row["recall"] >= 0.99 for row in data["rows"] if "connections" in row)
    data = read(results, "server_ingest")
    written = {row["contender"] for row in data["rows"] if "acks_per_s" in row}
    postgres = {"PostgreSQL, no index", "PostgreSQL, HNSW"}
    assert written == {"qstore"} | (set() if "PostgreSQL" in data["skipped"] else postgres)


def test_nothing_fails_under_mixed_load(results: Path) -> None:
    failed = next(figure for figure in read(results, "soak")["figures"] if "failed" in figure["what"])
    assert failed["gate"]["met"], failed["shown"]


def test_context_queries_on_a_flat_index_equal_brute_force(results: Path) -> None:
    checks = {row["check"]: row for row in read(results, "context_query")["rows"] if "check" in row}
    assert checks["flat equals brute force, order included"]["share"] == 1.0


def test_every_rival_of_tunnel_search_is_judged_on_every_set_and_its_whole_grid_reported(
    results: Path,
) -> None:
    rows = read(results, "tunnel")["rows"]
    sets = {"Fashion-MNIST", "docstrings", "digits"}
    judged = {(row["set"], row["method"]) for row in rows if "method" in row}
    tuned = {(row["set"], row["tuning"]) for row in rows if "tuning" in row}
    names = {name for _, name in tuned}
    assert {"personalised PageRank", "heat kernel", "hop expansion", "mean query", "MMR", "DPP"} < names
    assert tuned == {(set_, name) for set_ in sets for name in names}
    assert judged == tuned | {(set_, name) for set_ in sets for name in ("qstore diffusion", "qstore walk")}


def test_searches_beside_writes_are_measured_at_both_sizes(results: Path) -> None:
    rows = [row for row in read(results, "tunnel")["rows"] if "case" in row]
    assert {(row["set"], row["writes_per_s"] > 0) for row in rows} == {
        (set_, busy) for set_ in ("Fashion-MNIST", "clustered 96-d") for busy in (False, True)
    }


def test_the_page_has_a_line_for_every_figure_and_the_table_one_for_every_gate(results: Path) -> None:
    page, gates = table.figures(results), table.gates_table(results)
    for program in PROGRAMS:
        assert f"\n## {program}\n" in f"\n{page}"
        for figure in read(results, program)["figures"]:
            assert f"| {figure['what']} | {figure['shown']} |" in page
            line = f"| `{program}` | {figure['what']} | {figure['shown']} |"
            assert (line in gates) == (figure["gate"] is not None)


def test_all_claims_of_this_release_are_answered(results: Path) -> None:
    rows = [line.split(" | ") for line in table.claims_table(results).splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == [f"C-{number:02}" for number in range(1, 25)]


def test_an_unknown_program_is_refused_by_name() -> None:
    ended = bench("no_such_program")
    assert ended.returncode == 2
    assert "no_such_program" in ended.stderr
