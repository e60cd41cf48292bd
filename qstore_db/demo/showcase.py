"""The queries of the demonstration: one image asked in several ways."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qstore_db.database import QuantumDatabase
from qstore_db.demo.contexts import vectors
from qstore_db.demo.dataset import CLASSES, FashionMnist
from qstore_db.records import Match

TOP_K: Final = 10
_QUERY_CLASS: Final = "Ankle boot"
_QUERY_ORDINAL: Final = 1
"""The second ankle boot among the test images: a low one, close to the sneakers."""


@dataclass(frozen=True, slots=True)
class Question:
    """One way to ask, in words and as arguments of `query`."""

    title: str
    explanation: str
    call: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


QUESTIONS: Final = (
    Question(
        "Plain",
        "The nearest records by cosine distance, and nothing else.",
        "db.query(boot)",
    ),
    Question(
        "Filtered",
        "The same, but only among dark pictures of anything except ankle boots: the ten nearest of those that "
        "pass, not those of the ten nearest that pass.",
        'db.query(boot, filter={"class": {"$ne": "Ankle boot"}, "brightness": {"$lt": 0.25}})',
        {"filter": {"class": {"$ne": "Ankle boot"}, "brightness": {"$lt": 0.25}}},
    ),
    Question(
        "In a context",
        "The same picture, read as an everyday thing. Ankle boots hold no weight in “everyday” and drop out; "
        "sneakers hold 0.4 of it, bags 0.7.",
        'db.query(boot, context="everyday")',
        {"context": "everyday"},
    ),
    Question(
        "Superposed: either",
        "Two contexts without phases add their probabilities. Records strong in either may come up: "
        "ankle boots (footwear 0.7) beside sneakers (0.6 and 0.4).",
        'db.query(boot, context={"footwear": 0.5, "everyday": 0.5}, context_strength=1)',
        {"context": {"footwear": 0.5, "everyday": 0.5}, "context_strength": 1.0},
    ),
    Question(
        "Superposed: both",
        "With equal phases amplitudes add up before they are squared. Records in both contexts gain: sneakers.",
        'db.query(boot, context={"footwear": (0.5, 0), "everyday": (0.5, 0)}, context_strength=1)',
        {"context": {"footwear": (0.5, 0.0), "everyday": (0.5, 0.0)}, "context_strength": 1.0},
    ),
    Question(
        "Superposed: one, not both",
        "With opposite phases the amplitudes cancel where both are strong. Sneakers nearly vanish (0.01), "
        "ankle boots keep 0.35.",
        'db.query(boot, context={"footwear": (0.5, 0), "everyday": (0.5, pi)}, context_strength=1)',
        {"context": {"footwear": (0.5, 0.0), "everyday": (0.5, math.pi)}, "context_strength": 1.0},
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a question."""

    question: Question
    matches: tuple[Match, ...]
    exact: bool
    milliseconds: float


def query_image(images: FashionMnist) -> int:
    """Which test image is asked about."""
    return int(np.flatnonzero(images.test_labels == CLASSES.index(_QUERY_CLASS))[_QUERY_ORDINAL])


def ask(database: QuantumDatabase, image: NDArray[np.uint8]) -> list[Answer]:
    """Every question about one image."""
    vector = vectors(image[None])[0]
    answers: list[Answer] = []
    for question in QUESTIONS:
        started = time.perf_counter()
        result = database.query(vector, top_k=TOP_K, **question.arguments)
        matches = tuple(result)
        elapsed = (time.perf_counter() - started) * 1e3
        answers.append(Answer(question, matches, result.exact, elapsed))
    return answers
