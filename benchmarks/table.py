"""Results as Markdown: the gates for the README, all figures for docs/benchmarks.md, the rows of docs/claims.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")

CLAIMED: Mapping[str, tuple[str, str]] = {
    "C-01": (
        'Superposition of contexts gives an "exponential compression of task contexts"',
        "claims",
    ),
    "C-02": ('A database query takes "~60-100 ms with quantum enhancement"', "claims"),
    "C-03": ('"One dataset serves multiple tasks"', "claims"),
    "C-04": (
        '"Context-aware data selection" improves what a task gets',
        "context_query",
    ),
    "C-05": (
        'In mock mode accuracy is random, 10-20 %, so mock is "for structure only"',
        "claims",
    ),
    "C-06": (
        (
            'Tunnelling lets a search "escape local optima" and find "globally optimal configurations" that '
            "grid and random search miss"
        ),
        "objective",
    ),
    "C-07": ('"Find similar models with tunnelling"', "tunnel"),
    "C-08": ('"Market regime discovery via tunnelling"', "tunnel"),
    "C-09": ('Tunnelling gives "faster convergence than grid/random search"', "objective"),
}
"""What earlier systems claimed, and the program that answers."""

VERDICTS = ("holds", "corrected", "refuted", "modelled only", "not testable here")


def gates_table(results: Path = RESULTS) -> str:
    """Every figure that had a gate to pass, in the order of the programs' names, and where it was measured."""
    lines = ["| program | measured | result | gate |", "|---|---|---|---|"]
    machines: dict[str, None] = {}
    met = judged = 0
    for result in _results(results):
        for figure in result["figures"]:
            if figure["gate"] is not None:
                lines.append(f"| `{result['program']}` {_row(figure)}")
                judged += 1
                met += figure["gate"]["met"]
        machines[_machine(result["environment"])] = None
    return "\n".join([*lines, "", f"{met} of {judged} gates met.", *machines]) + "\n"


def figures(results: Path = RESULTS) -> str:
    """Every figure of every result, a section for each program with its question and its plot."""
    lines: list[str] = []
    for result in _results(results):
        name = result["program"]
        lines += [
            f"## {name}",
            "",
            result["question"],
            "",
            f"![{name}](../benchmarks/results/{name}.png)",
            "",
        ]
        lines += ["| measured | result | gate |", "|---|---|---|"]
        lines += [_row(figure) for figure in result["figures"]]
        lines += [f"| {peer} | not measured: {why} | |" for peer, why in result["skipped"].items()]
        lines += ["", _machine(result["environment"]), ""]
    return "\n".join(lines)


def _row(figure: Mapping[str, Any]) -> str:
    gate = figure["gate"]
    judged = "" if gate is None else f"{gate['need']} **{'met' if gate['met'] else 'missed'}**"
    return f"| {figure['what']} | {figure['shown']} | {judged} |"


def claims_table(results: Path = RESULTS) -> str:
    """One row for each claim that has an answer."""
    answers = {answer["id"]: answer for result in _results(results) for answer in result["claims"]}
    lines = ["| id | claim | verdict | figure | program |", "|---|---|---|---|---|"]
    for id, (claim, program) in CLAIMED.items():
        if id in answers:
            answer = answers[id]
            lines.append(f"| {id} | {claim} | {answer['verdict']} | {answer['figure']} | `{program}` |")
    return "\n".join(lines) + "\n"


def publish(document: Path, name: str, table: str) -> bool:
    """Put `table` between `<!-- name -->` and `<!-- /name -->` of a document; False if it has no such place."""
    text = document.read_text(encoding="utf-8")
    head, start, rest = text.partition(f"<!-- {name} -->\n")
    _, end, tail = rest.partition(f"<!-- /{name} -->")
    if not start or not end:
        return False
    document.write_text(head + start + table + end + tail, encoding="utf-8")
    return True


def _results(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))


def _machine(environment: Mapping[str, Any]) -> str:
    return (
        f"Measured on {environment['date']}: {environment['processor']}, {environment['cpus']} CPUs, "
        f"{environment['memory_gib']} GiB, {environment['file_system']}, Python {environment['python']}."
    )
