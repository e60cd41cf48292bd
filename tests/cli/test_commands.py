"""Every command on a database that is well, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from qstore_db import QuantumDatabase
from qstore_db.cli import exits

VECTOR = "[0.5, -0.1, 0.2, 1]"


def test_collections_lists_what_each_holds(run, path):
    listed = run("collections", "--path", path, "--json").data["collections"]
    assert [(c["name"], c["records"], c["dimension"], c["metric"]) for c in listed] == [
        ("default", 40, 4, "cosine"),
        ("notes", 3, 2, "l2"),
    ]


def test_collections_as_text_names_them(run, path):
    ended = run("collections", "--path", path)
    assert ended.code == 0
    assert "default" in ended.out
    assert "notes" in ended.out


def test_stats_counts_records(run, path):
    stats = run("stats", "--path", path, "--json").data
    assert stats["collections"]["default"]["records"] == 40
    assert stats["sequence"] == 43


def test_stats_as_text_names_the_directory(run, path):
    assert path.name in run("stats", "--path", path).out


def test_verify_says_ok_and_exits_with_0(run, path):
    ended = run("verify", "--path", path, "--json")
    assert ended.code == 0
    assert ended.data["ok"] is True
    assert ended.data["records"] == 43


def test_verify_as_text_says_that_everything_is_what_was_written(run, path):
    assert "everything stored is what was written" in run("verify", "--path", path).out


def test_query_equals_the_call(run, path):
    ended = run("query", "--path", path, "--vector", VECTOR, "--top-k", 5, "--json").data
    with QuantumDatabase.connect(path) as database:
        result = database.query(json.loads(VECTOR), top_k=5)
    assert [match["id"] for match in ended["matches"]] == result.ids
    assert [match["score"] for match in ended["matches"]] == result.scores.tolist()
    assert ended["exact"] is True


def test_query_as_text_shows_metadata_as_it_is(run, path):
    assert "[odd]" in run("query", "--path", path, "--id", "r2", "--top-k", 30).out


def test_query_by_id_leaves_the_record_itself_out(run, path):
    found = run("query", "--path", path, "--id", "r7", "--top-k", 4, "--json").data["matches"]
    assert len(found) == 4
    assert "r7" not in [match["id"] for match in found]


def test_query_in_a_context_carries_weights(run, path):
    found = run("query", "--path", path, "--vector", VECTOR, "--context", "it", "--json").data["matches"]
    assert [match["weight"] for match in found] == pytest.approx([0.3] * 10)


def test_query_takes_a_superposition_with_phases_as_json(run, path):
    context = '{"sales": [0.5, 0], "it": [0.5, 3.141592653589793]}'
    found = run("query", "--path", path, "--vector", VECTOR, "--context", context, "--json").data["matches"]
    assert all(0 < match["weight"] < 1 for match in found)


def test_query_takes_a_filter_as_json(run, path):
    where = '{"year": {"$lt": 2003}}'
    found = run("query", "--path", path, "--vector", VECTOR, "--filter", where, "--json").data["matches"]
    assert {match["id"] for match in found} == {"r0", "r1", "r2"}


def test_explain_gives_parts_that_add_up_to_the_score(run, path):
    arguments = ("query", "--path", path, "--vector", VECTOR, "--context", "it", "--explain")
    for match in run(*arguments, "--json").data["matches"]:
        assert sum(match["explain"]["terms"].values()) == pytest.approx(match["score"])
    assert "lambda" in run(*arguments).out


@pytest.mark.parametrize("command", ["query", "tunnel"])
def test_a_coherence_time_makes_age_count(run, path, command):
    arguments = (command, "--path", path, "--vector", VECTOR, "--explain", "--json")
    for match in run(*arguments, "--coherence-time", 3_600).data["matches"]:
        assert match["explain"]["terms"]["age"] <= 0.0
    assert "age" not in run(*arguments).data["matches"][0]["explain"]["terms"]


def test_an_unknown_context_is_a_warning(run, path):
    ended = run("query", "--path", path, "--vector", VECTOR, "--context", "nobody", "--json")
    assert ended.code == 0
    assert "nobody" in ended.data["warnings"][0]
    assert "warning:" in run("query", "--path", path, "--vector", VECTOR, "--context", "nobody").out


@pytest.mark.parametrize("kind", ["npy", "json"])
def test_a_vector_may_come_from_a_file(run, path, tmp_path, kind):
    file = tmp_path / f"vector.{kind}"
    np.save(file, np.array(json.loads(VECTOR))) if kind == "npy" else file.write_text(VECTOR)
    from_file = run("query", "--path", path, "--vector-file", file, "--json").data
    assert from_file == run("query", "--path", path, "--vector", VECTOR, "--json").data


def test_tunnel_equals_the_call(run, path):
    arguments = (
        "tunnel",
        "--path",
        path,
        "--vector",
        VECTOR,
        "--barrier",
        0.5,
        "--strength",
        0.7,
        "--top-k",
        5,
    )
    ended = run(*arguments, "--json").data
    with QuantumDatabase.connect(path) as database:
        result = database.tunnel_search(
            json.loads(VECTOR), barrier_threshold=0.5, tunneling_strength=0.7, top_k=5
        )
        assert [match["id"] for match in ended["matches"]] == result.ids
        assert [match["id"] for match in ended["inside"]] == result.inside.ids
        assert (ended["well_size"], ended["eligible"]) == (result.well_size, result.eligible)


@pytest.mark.parametrize(
    ("given", "keywords"),
    [
        (["--engine", "walk"], {"engine": "walk"}),
        (["--diversity", 0.8], {"diversity": 0.8}),
        (["--candidates", 20], {"candidates": 20}),
        (
            ["--filter", '{"tag": "even"}', "--walk-through"],
            {"filter": {"tag": "even"}, "walk_through": True},
        ),
        (["--context", "it", "--denoise"], {"context": "it", "denoise": True}),
        (["--objective", "year", "--min-prominence", 2], {"objective": "year", "min_prominence": 2.0}),
    ],
)
def test_every_option_of_tunnel_reaches_the_call(run, path, given, keywords):
    ended = run("tunnel", "--path", path, "--vector", VECTOR, "--top-k", 5, *given, "--json").data
    with QuantumDatabase.connect(path) as database:
        result = database.tunnel_search(json.loads(VECTOR), top_k=5, **keywords)
        plain = database.tunnel_search(json.loads(VECTOR), top_k=5)
    found = [(match["id"], match["score"]) for match in ended["matches"]]
    assert found == list(zip(result.ids, result.scores.tolist(), strict=True))
    assert ended["warnings"] == list(result.warnings)
    assert (found, ended["warnings"]) != (list(zip(plain.ids, plain.scores.tolist(), strict=True)), [])


def test_explain_names_the_records_that_carried_the_probability(run, path):
    arguments = ("tunnel", "--path", path, "--vector", VECTOR, "--explain", "--json")
    found = run(*arguments).data["matches"]
    with QuantumDatabase.connect(path) as database:
        result = database.tunnel_search(json.loads(VECTOR))
        assert [m["explain"].get("path", []) for m in found] == [list(m.explain().path) for m in result]
    assert any("path" in match["explain"] for match in found)


def test_the_best_of_each_basin_is_titled_as_such(run, path):
    assert (
        "The best year of each basin"
        in run("tunnel", "--path", path, "--id", "r3", "--objective", "year").out
    )


def test_tunnel_as_text_shows_the_well_beside_what_lies_beyond(run, path):
    out = run("tunnel", "--path", path, "--id", "r3").out
    assert "Beyond the barrier" in out
    assert "Inside the well: 10 records" in out


def test_tunnel_with_all_marks_what_lies_inside(run, path):
    found = run("tunnel", "--path", path, "--vector", VECTOR, "--all", "--barrier", 0.5, "--json")
    assert {match["tunneled"] for match in found.data["matches"]} == {True, False}


def test_tunnel_writes_a_page_that_loads_nothing(run, path, tmp_path):
    page = tmp_path / "walk.html"
    arguments = ("tunnel", "--path", path, "--id", "r3", "--barrier", 0.5)
    ended = run(*arguments, "--html", page, "--json")
    assert ended.data["html"] == str(page)
    assert ended.data["matches"] == run(*arguments, "--json").data["matches"]
    text = page.read_text()
    assert "default-src 'none'" in text
    assert "<svg" in text
    assert "<script" not in text
    for match in (*ended.data["matches"], *ended.data["inside"]):
        assert f">{match['id']}</td>" in text
    assert "<dt>barrier_threshold</dt><dd>0.5</dd>" in text
    assert str(page) in run(*arguments, "--html", page).out
    assert page.read_text() == text


def test_a_page_that_cannot_be_written_is_an_error(run, path, tmp_path):
    page = tmp_path / "absent" / "walk.html"
    ended = run("tunnel", "--path", path, "--id", "r3", "--html", page, "--json")
    assert ended.code == exits.REQUEST
    assert ended.data["error"]["subject"] == str(page)


def test_a_backup_restores_to_the_same_records(run, path, tmp_path):
    copy, again = tmp_path / "backup", tmp_path / "again"
    assert run("backup", copy, "--path", path, "--json").data["destination"] == str(copy)
    assert run("restore", copy, "--path", again, "--json").data["bytes"] > 0
    with QuantumDatabase.connect(path) as first, QuantumDatabase.connect(again) as second:
        assert first.get("r5") == second.get("r5")
        assert second.count() == 40


def test_backup_and_restore_as_text_name_both_ends(run, path, tmp_path):
    out = run("backup", tmp_path / "backup", "--path", path).out
    assert out.startswith("backed up")
    out = run("restore", tmp_path / "backup", "--path", tmp_path / "again").out
    assert "again" in out.replace("\n", "")


def test_the_path_may_come_from_the_environment(run, path, monkeypatch):
    monkeypatch.setenv("QSTORE_PATH", str(path))
    assert run("stats", "--json").code == 0


def test_commands_leave_a_database_unlocked(run, path):
    run("stats", "--path", path)
    with QuantumDatabase.connect(path) as database:
        assert database.count() == 40


def test_reading_commands_make_no_directory(run, tmp_path: Path):
    absent = tmp_path / "absent"
    for command in ("stats", "collections", "verify", "doctor"):
        run(command, "--path", absent)
    run("query", "--path", absent, "--vector", VECTOR)
    run("tunnel", "--path", absent, "--vector", VECTOR)
    run("backup", tmp_path / "backup", "--path", absent)
    assert list(tmp_path.iterdir()) == []
