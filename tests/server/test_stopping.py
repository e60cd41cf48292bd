"""A server that stops waits for nothing that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from qstore_db import DatabaseConfig, QuantumDatabase
from qstore_db.database import scales
from qstore_db.testing.serving import ServerThread
from qstore_db.testing.waiting import PATIENCE, settled
from qstore_server.lanes import Lane


def test_a_stop_gives_up_measuring_a_scale_which_the_next_search_makes_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, given_up = threading.Event(), threading.Event()

    def endless(view: Any, now: Any, previous: Any, check: Any) -> NoReturn:
        begun.set()
        until = time.monotonic() + PATIENCE
        try:
            while time.monotonic() < until:
                check()
                time.sleep(0.01)
        except BaseException:
            given_up.set()
            raise
        raise AssertionError("nothing stopped it")

    with monkeypatch.context() as patched:
        patched.setattr(scales, "measure", endless)
        with ServerThread(path=tmp_path / "db") as server:
            with QuantumDatabase.connect(server.url) as db:
                db.insert_many(
                    ids=[str(i) for i in range(100)], vectors=np.random.default_rng(0).normal(size=(100, 4))
                )
            assert begun.wait(PATIENCE)
            server.stop()
            assert given_up.is_set()
    with QuantumDatabase(DatabaseConfig(path=tmp_path / "db")) as db:
        assert db.stats()["collections"]["default"]["scale"]["version"] == 1


async def test_a_lane_that_is_closed_begins_on_nothing_that_still_waits() -> None:
    loop, free = asyncio.get_running_loop(), threading.Event()
    failures: list[Any] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    lane, done = Lane("few", 1, loop), []

    def closed() -> None:
        closing = threading.Thread(target=lane.close)
        closing.start()
        settled(lambda: lane._threads._shutdown)
        free.set()
        closing.join()

    for name in ("first", "second"):
        lane.submit(name, free.wait, lambda _, __, name=name: done.append(name))
    await asyncio.to_thread(closed)
    await asyncio.sleep(0)
    assert done == ["first"]
    assert failures == []
