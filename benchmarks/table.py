"""Results as Markdown: the gates for the README, all figures for docs/benchmarks.md, the rows of docs/claims.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import wide

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
    "C-10": ("QuantumLayer's forward pass takes < 1 ms (4 qubits, depth 2)", "layer_speed"),
    "C-11": ("A gradient takes ~2 ms by parameter shift (4 qubits, depth 2)", "layer_speed"),
    "C-12": ("Training on 500 samples x 2 epochs at 4 qubits takes 19.5 s", "fashion_mnist"),
    "C-13": (
        (
            "Fashion-MNIST, 500 x 3: the dense hybrid takes 346 s, and the four-layer model is projected at 41 s, "
            '"8.4x faster"'
        ),
        "fashion_mnist",
    ),
    "C-14": (
        "Qubits: 2-4 for prototypes, 4-6 balanced, 6-8 for the most expressivity",
        "expressivity",
    ),
    "C-15": ("Depth: 1 is limited, 2-4 recommended, 5 and more decohere", "expressivity"),
    "C-16": ("RY + RZ instead of RX + RY + RZ saves 33 % of the parameters", "expressivity"),
    "C-17": ("One QuantumFeatureExtractor replaces three dense layers", "fashion_mnist"),
    "C-18": ('Measuring in several bases gives "more information per circuit"', "expressivity"),
    "C-19": ('Pooling by partial trace is "information-theoretically optimal compression"', "pooling"),
    "C-20": ('Amplitude damping acts "similar to leaky ReLU"', "expressivity"),
    "C-21": (
        "The share of quantum computation rises from 5 % to 60-70 %, and that is better",
        "fashion_mnist",
    ),
    "C-22": (
        "Quantum layers suit models of few parameters (< 500) and few-shot learning",
        "few_shot",
    ),
    "C-23": (
        'Hybrid training is "slower than classical", and > 90 % accuracy stays classical',
        "fashion_mnist",
    ),
    "C-24": ("Layers are limited to CPU tensors and 4-8 qubits", "layer_speed"),
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
        if cells := list(wide.speeds(result["rows"])):
            lines += ["", *cells]
        lines += ["", _machine(result["environment"]), ""]
    return "\n".join(lines)


def speeds_table(program: str, results: Path = RESULTS) -> str:
    """Deep circuits, forward and backward, one sample and many: a part of what docs/benchmarks.md has."""
    rows = [
        row
        for row in _result(program, results)["rows"]
        if row.get("depth") == 4 and row.get("batch") in (1, 256) and row.get("dtype") == "float32"
    ]
    return "\n".join(wide.speeds(rows, call="gradient")) + "\n"


def models_table(results: Path = RESULTS) -> str:
    """What each model of images reaches after one epoch over all of them."""
    rows = _result("fashion_mnist", results)["rows"]
    return "\n".join(wide.accuracies(rows, "all images, one epoch")) + "\n"


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


def _result(program: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{program}.json").read_text(encoding="utf-8"))
    return found


def _results(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.json")):
        yield _result(path.stem, folder)


def _machine(environment: Mapping[str, Any]) -> str:
    return (
        f"Measured on {environment['date']}: {environment['processor']}, {environment['cpus']} CPUs, "
        f"{environment['memory_gib']} GiB, {environment['file_system']}, Python {environment['python']}."
    )
