"""What one run of the demonstration found: the terminal, the report and `--json` all tell of this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qstore_db.demo.beyond import FAR, Case, Comparison, Interval, R
from qstore_db.demo.crash import Kill
from qstore_db.demo.dataset import CLASSES, FashionMnist
from qstore_db.demo.projection import Projection
from qstore_db.demo.showcase import Answer
from qstore_db.pictures.walk import WalkPicture
from qstore_db.records import Match


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that was measured and seen."""

    images: FashionMnist
    imported: int
    import_seconds: float
    query_image: int
    """The test image that the questions were about."""
    answers: tuple[Answer, ...]
    comparison: Comparison
    map: Projection
    """The neighbourhood of the first of the comparison's examples."""
    walk: WalkPicture
    """What tunnelling walked over for that query."""
    kills: tuple[Kill, ...]
    images_after: int
    """Imported records that were there after the last kill."""

    @property
    def acknowledged(self) -> int:
        return sum(kill.acknowledged for kill in self.kills)

    @property
    def lost(self) -> int:
        return sum(kill.lost for kill in self.kills) + self.imported - self.images_after

    @property
    def problems(self) -> tuple[str, ...]:
        """What the checks after the kills complained of."""
        return tuple(problem for kill in self.kills for problem in kill.problems)

    @property
    def query_class(self) -> str:
        return CLASSES[self.images.test_labels[self.query_image]]

    def as_data(self, report: Path, seconds: float) -> dict[str, Any]:
        """The same for `--json`."""
        comparison = self.comparison
        return {
            "source": self.images.source,
            "imported": self.imported,
            "import_seconds": round(self.import_seconds, 3),
            "queries": [_answer(answer) for answer in self.answers],
            "far_precision": {
                "R": R,
                "results": FAR,
                "queries": len(comparison.cases),
                "knn": _interval(comparison.plain),
                "tunnel": _interval(comparison.tunnel),
                "difference": _interval(comparison.difference),
                "better": comparison.better,
                "worse": comparison.worse,
                "milliseconds": round(comparison.milliseconds, 1),
                "examples": [{"rule": rule, **_case(case)} for rule, case in comparison.examples()],
            },
            "crash": {
                "kills": len(self.kills),
                "acknowledged": self.acknowledged,
                "lost": self.lost,
                "answered_again_seconds": [round(kill.seconds, 3) for kill in self.kills],
                "problems": list(self.problems),
            },
            "report": str(report),
            "seconds": round(seconds, 1),
        }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "title": answer.question.title,
        "call": answer.question.call,
        "exact": answer.exact,
        "milliseconds": round(answer.milliseconds, 2),
        "matches": [_match(match) for match in answer.matches],
    }


def _match(match: Match) -> dict[str, Any]:
    return {
        "id": match.id,
        "class": match.metadata["class"],
        "distance": match.distance,
        "score": match.score,
        "weight": match.weight,
    }


def _case(case: Case) -> dict[str, Any]:
    return {
        "test_image": case.image,
        "class": case.label,
        "knn": case.plain_share,
        "tunnel": case.tunnel_share,
        "knn_ids": [match.id for match in case.plain],
        "tunnel_ids": [match.id for match in case.tunneled],
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "low": interval.low, "high": interval.high}
