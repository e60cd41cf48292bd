"""Writes under a key: sent again, they are answered again and not applied again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from qstore_db.engines.base import CollectionSpec, Delete, DeleteWhere, Engine, Patch, Put, Selection, Write
from qstore_db.errors import ArgumentError, CollectionNotFoundError, DuplicateIdError, RecordNotFoundError
from qstore_db.records import Metric, parse_filter
from qstore_db.testing.engines.support import NOW, Reopen, put, vector

KEY = bytes(range(16))
ONE = vector(1, 1, 1)


def small_numbers(now: float) -> Write:
    """Another object at every sending, as of another moment."""
    return DeleteWhere(Selection(parse_filter({"n": {"$lt": 5}}), now=now))


REQUESTS: dict[str, Callable[[int, float], Sequence[Write]]] = {
    "upsert": lambda version, now: [Put("a", ONE, metadata={"n": 9})],
    "insert": lambda version, now: [Put("new", ONE, exclusive=True)],
    "insert_many": lambda version, now: [Put(f"new {i}", ONE, exclusive=True) for i in range(20)],
    "update": lambda version, now: [Patch("a", metadata={"n": 9}, if_version=version)],
    "delete": lambda version, now: [Delete("a")],
    "delete_many": lambda version, now: [Delete("a"), Delete("b"), Delete("absent")],
    "delete_where": lambda version, now: [small_numbers(now)],
    "delete_nothing": lambda version, now: [Delete("absent")],
    "mixed": lambda version, now: [Put("a", ONE), Delete("b"), small_numbers(now)],
}
"""How a request is made, given the version of record "a" and the time: every kind would do something else, or be
refused, if it were applied twice."""


class Receipts:
    """An answer that was lost can be had again."""

    @pytest.fixture
    def keyed(self, engine: Engine) -> Engine:
        if not engine.capabilities.receipts:
            pytest.skip("the engine takes no keys")
        return engine

    @pytest.mark.parametrize("kind", REQUESTS)
    def test_a_write_sent_again_is_answered_as_the_first_time_and_changes_nothing(
        self, keyed: Engine, kind: str
    ) -> None:
        keyed.write("c", [Put(id, ONE, metadata={"n": i}) for i, id in enumerate("abcd")]).result()
        version = put(keyed, "a", ONE, metadata={"n": 0})
        first = keyed.write("c", REQUESTS[kind](version, NOW), key=KEY).result()
        for id in ("a", "b", "absent"):
            put(keyed, id, vector(2, 2, 2), metadata={"n": 3})
        keyed.write("c", [Delete("new 7")]).result()
        view = keyed.view("c")
        before = view.scroll(Selection(now=NOW), 100, 0)
        for later in range(3):
            assert keyed.write("c", REQUESTS[kind](version, NOW + later), key=KEY).result() == first
        assert keyed.view("c").sequence == view.sequence
        assert keyed.view("c").scroll(Selection(now=NOW), 100, 0) == before

    def test_keys_are_apart(self, keyed: Engine) -> None:
        keys = [os.urandom(16) for _ in range(50)]
        for i, key in enumerate(keys):
            assert keyed.write("c", [Put(f"{i}", ONE, exclusive=True)], key=key).result().count == 1
        assert keyed.view("c").count(Selection(now=NOW)) == 50

    def test_a_key_is_only_16_bytes(self, keyed: Engine) -> None:
        for key in (b"", KEY[:15], KEY + b"\0", KEY.hex()[:16], bytearray(KEY)):
            with pytest.raises(ArgumentError) as caught:
                keyed.write("c", [Put("a", ONE)], key=key)  # type: ignore[arg-type]
            assert caught.value.subject == "key"
        assert keyed.view("c").count(Selection(now=NOW)) == 0

    @pytest.mark.parametrize(
        "other",
        [
            [Put("b", ONE)],
            [Put("a", ONE, exclusive=True)],
            [Patch("a", metadata={"n": 1})],
            [Delete("a")],
            [small_numbers(NOW)],
            [DeleteWhere(Selection(now=NOW))],
            [Put("a", ONE), Put("a", ONE)],
            [],
        ],
        ids=str,
    )
    def test_the_key_of_another_request_is_refused_and_nothing_applied(
        self, keyed: Engine, other: list[Write]
    ) -> None:
        put(keyed, "b", ONE, metadata={"n": 1})
        keyed.write("c", [Put("a", ONE, metadata={"n": 1})], key=KEY).result()
        before = keyed.view("c").scroll(Selection(now=NOW), 100, 0)
        with pytest.raises(ArgumentError) as caught:
            keyed.write("c", other, key=KEY).result()
        assert caught.value.subject == "key"
        assert keyed.view("c").scroll(Selection(now=NOW), 100, 0) == before

    def test_delete_where_with_another_filter_is_another_request(self, keyed: Engine) -> None:
        keyed.write("c", [small_numbers(NOW)], key=KEY).result()
        other = DeleteWhere(Selection(parse_filter({"n": {"$lt": 6}}), now=NOW))
        with pytest.raises(ArgumentError):
            keyed.write("c", [other], key=KEY).result()

    def test_the_same_request_to_another_collection_is_another_request(self, keyed: Engine) -> None:
        keyed.create_collection(CollectionSpec("d", 3, Metric.L2))
        keyed.write("c", [Put("a", ONE)], key=KEY).result()
        with pytest.raises(ArgumentError):
            keyed.write("d", [Put("a", ONE)], key=KEY).result()
        assert keyed.view("d").count(Selection(now=NOW)) == 0

    def test_a_write_that_failed_can_be_sent_again(self, keyed: Engine) -> None:
        put(keyed, "there", ONE)
        for failing, error in (
            ([Put("there", ONE, exclusive=True)], DuplicateIdError),
            ([Patch("absent", metadata={"n": 1})], RecordNotFoundError),
            ([Put("new", ONE), Put("there", ONE, exclusive=True)], DuplicateIdError),
        ):
            for _ in range(2):
                with pytest.raises(error):
                    keyed.write("c", failing, key=KEY).result()
        keyed.write("c", [Delete("there")]).result()
        batch = [Put("new", ONE, exclusive=True), Put("there", ONE, exclusive=True)]
        first = keyed.write("c", batch, key=KEY).result()
        assert keyed.write("c", batch, key=KEY).result() == first
        assert first.count == 2

    def test_the_same_request_from_many_threads_at_once_is_applied_once(self, keyed: Engine) -> None:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(10):
                key, batch = os.urandom(16), [Put(f"{turn}", ONE, exclusive=True)]
                sent = [pool.submit(keyed.write, "c", batch, key=key) for _ in range(8)]
                assert len({one.result().result().sequence for one in sent}) == 1
        assert keyed.view("c").count(Selection(now=NOW)) == 10

    def test_answers_are_remembered_across_reopening(self, keyed: Engine, reopen: Reopen) -> None:
        first = keyed.write("c", [Put("a", ONE, exclusive=True)], key=KEY).result()
        again = reopen()
        assert again.write("c", [Put("a", ONE, exclusive=True)], key=KEY).result() == first
        with pytest.raises(ArgumentError):
            again.write("c", [Put("b", ONE)], key=KEY).result()

    def test_a_renamed_collection_keeps_its_answers(self, keyed: Engine) -> None:
        first = keyed.write("c", [Put("a", ONE, exclusive=True)], key=KEY).result()
        keyed.rename_collection("c", "d")
        assert keyed.write("d", [Put("a", ONE, exclusive=True)], key=KEY).result() == first

    def test_the_answers_of_a_dropped_collection_are_in_nobodys_way(
        self, keyed: Engine, reopen: Reopen
    ) -> None:
        keyed.write("c", [Put("a", ONE)], key=KEY).result()
        keyed.drop_collection("c")
        with pytest.raises(CollectionNotFoundError):
            keyed.write("c", [Put("a", ONE)], key=KEY).result()
        again = reopen()
        again.create_collection(CollectionSpec("c", 3, Metric.L2))
        with pytest.raises(ArgumentError):
            again.write("c", [Put("a", ONE)], key=KEY).result()
        assert again.view("c").count(Selection(now=NOW)) == 0
        assert again.write("c", [Put("a", ONE)], key=os.urandom(16)).result().count == 1
