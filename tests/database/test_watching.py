"""Following a collection through the core: arguments, the present as default, and engines that cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from qstore_db import DatabaseConfig
from qstore_db.database.core import Core
from qstore_db.engines.base import CollectionSpec, Put
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.errors import ArgumentError, CollectionNotFoundError, ConfigurationError


@pytest.fixture
def core() -> Iterator[Core]:
    with closing(Core(DatabaseConfig())) as core:
        core.engine.create_collection(CollectionSpec("c", 3))
        yield core


def put(core: Core, id: str) -> int:
    return core.engine.write("c", [Put(id, np.ones(3, np.float32))]).result().sequence


def test_a_watch_begins_at_the_present_or_after_a_sequence(core: Core) -> None:
    first = put(core, "a")
    present, earlier = core.watches.start("c"), core.watches.start("c", np.int64(first))  # type: ignore[arg-type]
    put(core, "b")
    assert [change.id for change in present.next(10)] == ["b"]
    assert [change.id for change in earlier.next(10)] == ["b"]
    assert [change.id for change in core.watches.start("c", 0).next(10)] == ["a", "b"]


@pytest.mark.parametrize("since", [-1, 5, 2**80, 1.0, "1", True, float("nan")])
def test_a_sequence_that_is_none_is_refused_by_name(core: Core, since: object) -> None:
    put(core, "a")
    with pytest.raises(ArgumentError) as caught:
        core.watches.start("c", since)  # type: ignore[arg-type]
    assert caught.value.subject == "since"
    assert repr(since) in caught.value.message


def test_a_collection_that_is_not_there_is_refused_by_name(core: Core) -> None:
    with pytest.raises(CollectionNotFoundError) as caught:
        core.watches.start("nowhere")
    assert caught.value.subject == "nowhere"


def test_subscribers_are_called(core: Core) -> None:
    calls: list[int] = []
    leave = core.watches.subscribe(lambda: calls.append(core.engine.sequence))
    last = put(core, "a")
    leave()
    put(core, "b")
    assert calls == [last]


def test_an_engine_that_cannot_tell_is_refused_by_its_capability(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddedEngine, "capabilities", replace(EmbeddedEngine.capabilities, watch=False))
    for call in (lambda: core.watches.start("c"), lambda: core.watches.subscribe(lambda: None)):
        with pytest.raises(ConfigurationError) as caught:
            call()
        assert caught.value.subject == "watch"
