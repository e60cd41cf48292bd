"""get, scroll, count and neighbours."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from qstore_db.database import QuantumDatabase
from qstore_db.errors import ArgumentError, CollectionNotFoundError, FilterError, IdError, RecordNotFoundError
from qstore_db.records import Page
from qstore_db.testing.databases.opening import Databases


def numbered(db: QuantumDatabase, count: int) -> None:
    """Records r0, r1, ... on a quarter circle, with their numbers as metadata."""
    angles = np.linspace(0.0, np.pi / 2, count)
    db.insert_many(
        ids=[f"r{i}" for i in range(count)],
        vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1),
        metadata=[{"n": i, "even": i % 2 == 0} for i in range(count)],
    )


def pages(db: QuantumDatabase, limit: int, **options: Any) -> list[Page]:
    found = [db.scroll(limit=limit, **options)]
    while found[-1].cursor is not None:
        found.append(db.scroll(limit=limit, cursor=found[-1].cursor, **options))
    return found


class ReadingContract(Databases):
    def test_get_of_one_id_is_a_record_or_none(self, db: QuantumDatabase) -> None:
        numbered(db, 3)
        record = db.get(id="r1")
        assert record is not None
        assert record.metadata["n"] == 1
        assert db.get("x") is None

    def test_get_of_several_ids_keeps_their_order(self, db: QuantumDatabase) -> None:
        numbered(db, 3)
        found = db.get(["r2", "x", "r0", "r2"])
        assert [record and record.id for record in found] == ["r2", None, "r0", "r2"]
        assert db.get([]) == []

    def test_get_refuses_what_is_no_id(self, db: QuantumDatabase) -> None:
        numbered(db, 1)
        wrong: Any
        for wrong in (7, None, [7]):
            with pytest.raises((IdError, ArgumentError)):
                db.get(wrong)

    def test_a_record_is_read_only(self, db: QuantumDatabase) -> None:
        numbered(db, 1)
        record = db.get("r0")
        assert record is not None
        with pytest.raises(ValueError, match="read-only"):
            record.vector[0] = 9.0

    # Scroll

    def test_pages_hold_every_record_once_in_the_order_of_writes(self, db: QuantumDatabase) -> None:
        numbered(db, 25)
        db.update("r3", metadata={"changed": True})
        found = pages(db, 10)
        assert [len(page) for page in found] == [10, 10, 5]
        ids = [record.id for page in found for record in page]
        assert ids == [*(f"r{i}" for i in range(25) if i != 3), "r3"]

    def test_a_filter_selects_before_pages_are_cut(self, db: QuantumDatabase) -> None:
        numbered(db, 25)
        found = pages(db, 4, filter={"even": True})
        assert [len(page) for page in found] == [4, 4, 4, 1]
        assert [record.metadata["n"] for page in found for record in page] == list(range(0, 25, 2))

    def test_a_page_that_ends_with_the_last_record_has_no_cursor(self, db: QuantumDatabase) -> None:
        numbered(db, 10)
        assert db.scroll(limit=10).cursor is None
        assert db.scroll(limit=9).cursor is not None

    def test_what_stays_unwritten_comes_once_whatever_is_written_between_pages(
        self, db: QuantumDatabase
    ) -> None:
        numbered(db, 30)
        seen: list[str] = []
        cursor = None
        for step in range(10):
            page = db.scroll(limit=4, cursor=cursor)
            seen += [record.id for record in page]
            cursor = page.cursor
            if cursor is None:
                break
            db.insert(f"new{step}", [1.0, 0.0])
            db.update(f"r{step}", metadata={"touched": True})
            db.delete(f"r{29 - step}")
        untouched = {f"r{i}" for i in range(10, 20)}
        assert sorted(id for id in seen if id in untouched) == sorted(untouched)

    def test_a_cursor_stays_good_while_others_write(self, db: QuantumDatabase) -> None:
        numbered(db, 200)
        stop = threading.Event()

        def write() -> None:
            n = 0
            while not stop.is_set():
                db.upsert(f"other{n % 5}", [1.0, 1.0], metadata={"other": True})
                n += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            found = pages(db, 7, filter={"n": {"$exists": True}})
        finally:
            stop.set()
            writer.join()
        assert [record.id for page in found for record in page] == [f"r{i}" for i in range(200)]

    def test_a_page_of_an_empty_database_is_empty(self, db: QuantumDatabase) -> None:
        assert (len(db.scroll()), db.scroll().cursor) == (0, None)

    @pytest.mark.parametrize("cursor", ["nonsense", "-1", "1.5", 7, ""])
    def test_a_cursor_that_no_page_gave_is_refused(self, db: QuantumDatabase, cursor: str) -> None:
        numbered(db, 1)
        with pytest.raises(ArgumentError) as caught:
            db.scroll(cursor=cursor)
        assert caught.value.subject == "cursor"

    @pytest.mark.parametrize("limit", [0, -1, 2.0, True, None])
    def test_a_limit_below_one_or_of_another_kind_is_refused(self, db: QuantumDatabase, limit: int) -> None:
        with pytest.raises(ArgumentError) as caught:
            db.scroll(limit=limit)
        assert caught.value.subject == "limit"

    # Count

    def test_count_counts_what_matches(self, db: QuantumDatabase) -> None:
        assert db.count() == 0
        numbered(db, 9)
        assert db.count() == 9
        assert db.count({"even": True}) == 5
        assert db.count(filter={"n": {"$in": [1, 2, 99]}}) == 2

    def test_a_wrong_filter_is_refused_by_every_read(self, db: QuantumDatabase) -> None:
        wrong = {"n": {"$near": 1}}
        for call in (
            lambda: db.count(wrong),
            lambda: db.scroll(filter=wrong),
            lambda: db.query([1.0], filter=wrong),
            lambda: db.tunnel_search([1.0], filter=wrong),
        ):
            with pytest.raises(FilterError):
                call()

    def test_an_unknown_collection_is_refused_by_every_read(self, db: QuantumDatabase) -> None:
        for call in (
            lambda: db.get("a", collection="typo"),
            lambda: db.query([1.0], collection="typo"),
            lambda: db.query_batch([[1.0]], collection="typo"),
            lambda: db.tunnel_search([1.0], collection="typo"),
            lambda: db.tunnel_search_batch([[1.0]], collection="typo"),
            lambda: db.neighbours("a", collection="typo"),
            lambda: db.scroll(collection="typo"),
            lambda: db.count(collection="typo"),
        ):
            with pytest.raises(CollectionNotFoundError) as caught:
                call()
            assert caught.value.subject == "typo"

    # Neighbours

    def test_neighbours_are_the_nearest_others(self, db: QuantumDatabase) -> None:
        numbered(db, 20)
        found = db.neighbours("r0", 3)
        assert found.ids == ["r1", "r2", "r3"]
        assert found.exact

    def test_neighbours_are_as_many_as_there_are(self, db: QuantumDatabase) -> None:
        numbered(db, 4)
        assert len(db.neighbours("r1", k=100)) == 3
        assert len(db.neighbours("r1")) == 3

    def test_neighbours_leave_out_the_record_among_its_duplicates(self, db: QuantumDatabase) -> None:
        db.insert_many(ids=list("abcdef"), vectors=np.ones((6, 2)))
        assert db.neighbours("f", 3).ids == ["a", "b", "c"]
        assert db.neighbours("a", 3).ids == ["b", "c", "d"]

    def test_neighbours_of_an_absent_record_are_refused(self, db: QuantumDatabase) -> None:
        numbered(db, 2)
        with pytest.raises(RecordNotFoundError) as caught:
            db.neighbours("x")
        assert caught.value.subject == "x"
