"""What the suites of an engine's promises share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings

from qstore_db.engines.base import Engine, Put, Selection, View
from qstore_db.records import Vectors

Reopen = Callable[[], Engine]
NOW = 1e9
"""Seconds since the epoch at which the suite looks; long past, so that nothing it writes expires meanwhile."""
FAR = 4e9

each_example_afresh = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
"""Each example replaces what the one before it left; each engine has a class of its own."""


def vector(*values: float) -> Vectors:
    return np.array(values, np.float32)


def put(engine: Engine, id: str, values: Vectors, **more: Any) -> int:
    """Write one record to collection "c"; its version."""
    return engine.write("c", [Put(id, values, **more)]).result().sequence


def ids_of(view: View, query: Vectors, k: int = 10, **selection: Any) -> list[str]:
    """The ids of the k nearest that the selection admits."""
    return view.search(query[None], k, Selection(**{"now": NOW, **selection}))[0].ids()
