"""What contradicts itself in an answer shows when it comes, not when somebody looks at its records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qstore_client.exchange import Call, Exchange
from qstore_db.database.operations import QUERY
from qstore_db.database.options import QueryOptions
from qstore_db.errors import ProtocolError
from qstore_db.records import QueryResult
from qstore_db.wire.greeting import Welcome
from qstore_db.wire.messages import Kind, Message

WELCOME = Welcome(head=1024, attachments=1024, requests=1, window=1, streamed=1, uploads=1, role="read")
ANSWER: dict[str, Any] = {
    "ends": [2],
    "exact": [True],
    "warnings": [[]],
    "ids": ["a", "b"],
    "versions": [1, 2],
    "records": np.zeros(4, np.uint8),
    "record_ends": [2, 4],
    "columns": ["score", "distance", "similarity"],
    "values": np.array([[-1.0, 1.0, 0.5], [-2.0, 2.0, 0.3]]),
    "scale": {},
}


def answered(answer: dict[str, Any]) -> QueryResult:
    exchange = Exchange(Call.of(QUERY, np.ones(2, np.float32), QueryOptions()), 1, WELCOME, None)
    assert list(exchange.take(Message(Kind.RESPONSE, 1, "", answer), 100)) == []
    return exchange.result()


def test_ids_and_scores_are_read_without_the_records() -> None:
    found = answered(ANSWER)
    assert (found.ids, found.scores.tolist()) == (["a", "b"], [-1.0, -2.0])


@pytest.mark.parametrize("name", ["ids", "versions", "record_ends", "values"])
@pytest.mark.parametrize("length", [1, 3])
def test_a_column_of_another_length_is_refused(name: str, length: int) -> None:
    column = (2 * list(ANSWER[name]))[:length]
    with pytest.raises(ProtocolError, match=name):
        answered({**ANSWER, name: np.array(column) if name == "values" else column})


def test_vectors_of_another_number_are_refused() -> None:
    with pytest.raises(ProtocolError, match="vectors"):
        answered({**ANSWER, "vectors": np.zeros((3, 2), np.float32)})
