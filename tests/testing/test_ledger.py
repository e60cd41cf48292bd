"""The ledger of a killed writer notices whatever a database may have lost, kept or changed."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from qstore_db import QuantumDatabase
from qstore_db.testing.faults.ledger import DIMENSIONS, Ledger, Step, vector_of


@pytest.fixture
def db() -> QuantumDatabase:
    database = QuantumDatabase()
    for name, dimension in DIMENSIONS.items():
        database.create_collection(name, dimension=dimension)
    return database


@pytest.fixture
def ledger(db: QuantumDatabase) -> Ledger:
    """What two writers wrote and had acknowledged."""
    book, rng = Ledger(), random.Random(3)
    for writer in (0, 1):
        present: set[str] = set()
        for number in range(1, 60):
            step = Step.choose(writer, number, present, rng)
            book.read([step.announced(), step.acknowledged(step.run(db))])
            change = set.difference_update if step.kind.startswith("delete") else set.update
            change(present, step.ids)
    assert book.acknowledged == 118
    return book


def some_id(db: QuantumDatabase) -> str:
    return db.scroll(limit=1).records[0].id


def test_a_database_that_kept_its_promises_passes(db: QuantumDatabase, ledger: Ledger) -> None:
    assert ledger.compare(db) == []
    assert ledger.compare(db) == []


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda db, one: db.delete(one), "is lost"),
        (lambda db, one: db.upsert("0-999", vector_of("x", 1, 24)), "should not be there"),
        (lambda db, one: db.update(one, vector=vector_of("x", 1, 24)), "another vector"),
        (lambda db, one: db.update(one, metadata={"score": 2.0}), "metadata"),
        (lambda db, one: db.update(one, contexts=[("all", 1.0)]), "contexts"),
        (lambda db, one: db.update(one, metadata={}), "version"),
    ],
    ids=["lost", "extra", "vector", "metadata", "contexts", "version"],
)
def test_any_difference_is_named(
    db: QuantumDatabase, ledger: Ledger, harm: Callable[[QuantumDatabase, str], object], said: str
) -> None:
    harm(db, some_id(db))
    (problem,) = ledger.compare(db)
    assert said in problem


@pytest.mark.parametrize("stored", [True, False])
def test_a_request_in_flight_may_be_stored_or_not(db: QuantumDatabase, ledger: Ledger, stored: bool) -> None:
    step = Step(0, 1_000, "upsert_many", ("0-1", "0-2", "0-300"))
    ledger.read([step.announced()])
    if stored:
        step.run(db)
    assert ledger.compare(db) == []
    assert (ledger.in_flight_stored, ledger.in_flight_lost) == (int(stored), int(not stored))


def test_half_of_a_request_in_flight_is_noticed(db: QuantumDatabase, ledger: Ledger) -> None:
    step = Step(0, 1_000, "upsert_many", ("0-301", "0-302"))
    ledger.read([step.announced()])
    step.run(db)
    db.delete("0-302")
    assert any("half of" in problem for problem in ledger.compare(db))
