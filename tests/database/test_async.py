"""What only the async face can promise: many calls at once on one loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from qstore_db import AsyncQuantumDatabase
from qstore_db.errors import ClosedError, DuplicateIdError, QueueFullError


async def test_many_inserts_at_once_share_commits() -> None:
    async with AsyncQuantumDatabase() as db:
        sequences = await asyncio.gather(*(db.insert(f"r{i}", [1.0, i]) for i in range(500)))
        assert len(set(sequences)) == 500
        assert await db.count() == 500
        stats = await db.stats()
        assert stats["commits"] < stats["write_requests"]


async def test_of_many_inserts_of_one_id_one_succeeds() -> None:
    async with AsyncQuantumDatabase() as db:
        given = await asyncio.gather(
            *(db.insert("a", [1.0], metadata={"n": n}) for n in range(20)), return_exceptions=True
        )
        winners = [n for n, result in enumerate(given) if isinstance(result, int)]
        record = await db.get("a")
        assert record is not None
        assert winners == [record.metadata["n"]]
        assert sum(isinstance(result, DuplicateIdError) for result in given) == 19


async def test_the_loop_goes_on_while_a_large_insert_is_stored() -> None:
    async with AsyncQuantumDatabase() as db:
        vectors = np.random.default_rng(0).normal(size=(8_000, 32))
        ids = [f"r{i}" for i in range(8_000)]
        storing = asyncio.create_task(db.insert_many(ids=ids, vectors=vectors))
        turns = 0
        while not storing.done():
            await asyncio.sleep(0)
            turns += 1
        await storing
        assert turns > 100


async def test_a_write_whose_caller_gave_up_is_whole_or_absent() -> None:
    async with AsyncQuantumDatabase() as db:
        await db.insert("first", [1.0])
        tasks = [asyncio.create_task(db.insert(f"r{i}", [1.0], metadata={"n": i})) for i in range(50)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for i in range(1, 50, 2):
            record = await db.get(f"r{i}")
            assert record is not None
            assert record.metadata == {"n": i}
        await db.upsert("r0", [2.0])
        assert (await db.verify())["problems"] == ()


async def test_reads_and_writes_interleave() -> None:
    async with AsyncQuantumDatabase() as db:
        await db.insert("a", [1.0, 0.0], metadata={"n": 0})

        async def write() -> None:
            for n in range(1, 100):
                await db.upsert("a", [1.0, float(n)], metadata={"n": n})

        async def read() -> None:
            for _ in range(100):
                match = (await db.query([1.0, 0.0], include_vectors=True))[0]
                assert match.vector is not None
                assert match.vector[1] == match.metadata["n"]

        await asyncio.gather(write(), read(), read())


async def test_a_full_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncQuantumDatabase() as db:
        await db.insert("a", [1.0])
        write, refusals = db._edge.core.engine.write, 3

        def refuse(*args: object, **options: object) -> object:
            nonlocal refusals
            refusals -= 1
            if refusals >= 0:
                raise QueueFullError("no room")
            return write(*args, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(db._edge.core.engine, "write", refuse)
        await db.insert("b", [1.0])
        assert await db.count() == 2


async def test_connect_opens_a_directory(tmp_path: Path) -> None:
    db = await AsyncQuantumDatabase.connect(tmp_path / "db")
    await db.insert("a", [1.0])
    await db.close()
    async with await AsyncQuantumDatabase.connect(tmp_path / "db") as again:
        assert await again.count() == 1


async def test_closing_at_once_from_several_tasks_closes_once() -> None:
    db = AsyncQuantumDatabase()
    await db.insert("a", [1.0])
    await asyncio.gather(*(db.close() for _ in range(5)))
    with pytest.raises(ClosedError):
        await db.count()


def test_a_database_outlives_the_loop_that_wrote_to_it() -> None:
    async def use(db: AsyncQuantumDatabase, id: str) -> int:
        await db.insert(id, [1.0])
        return await db.count()

    db = AsyncQuantumDatabase()
    assert asyncio.run(use(db, "a")) == 1
    assert asyncio.run(use(db, "b")) == 2
    asyncio.run(db.close())


def test_a_loop_that_ends_before_its_write_harms_no_later_write() -> None:
    async def abandon(db: AsyncQuantumDatabase) -> None:
        abandoned = [asyncio.ensure_future(db.insert(f"r{i}", [1.0])) for i in range(50)]
        await asyncio.sleep(0)
        assert len(abandoned) == 50

    db = AsyncQuantumDatabase()
    asyncio.run(abandon(db))

    async def after() -> int:
        await db.upsert("last", [1.0])
        return await db.count({})

    assert asyncio.run(after()) >= 1
    asyncio.run(db.close())
