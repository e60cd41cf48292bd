"""What simulators took and what models reached, as Markdown tables with a column for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.cells import CALLS
from benchmarks.harness import number

Row = Mapping[str, Any]
SIZE = ("n_qubits", "depth", "batch")


def speeds(rows: Sequence[Row], **only: Any) -> Iterator[str]:
    """Milliseconds of each simulator in each cell, or why there are none. only: what rows to show must be."""
    measured = [row for row in rows if "ms" in row and "simulator" in row]
    if not measured:
        return
    simulators = list(dict.fromkeys(row["simulator"] for row in measured))
    found = {(_cell(row), row["call"], row["simulator"]): number(row["ms"]["median"]) for row in measured}
    shown = list(dict.fromkeys((_cell(row), row["call"]) for row in measured if only.items() <= row.items()))
    gone = [row for row in rows if "given_up" in row and "simulator" in row]
    yield f"| qubits | depth | batch | numbers | ms of | {' | '.join(simulators)} |"
    yield "|---" * (5 + len(simulators)) + "|"
    for cell, call in shown:
        times = [
            found.get((cell, call, simulator), _reason(gone, cell, simulator)) for simulator in simulators
        ]
        yield f"| {' | '.join(map(str, cell))} | {CALLS[call]} | {' | '.join(times)} |"


def accuracies(rows: Sequence[Row], task: str) -> Iterator[str]:
    """Of one task of `fashion_mnist`."""
    shown = [row for row in rows if row.get("task") == task]
    if not shown:
        return
    yield "| model | sees | parameters | accuracy | least to greatest | seconds |"
    yield "|---|---|---|---|---|---|"
    for row in shown:
        reached, name = row["accuracy"], f"**{row['model']}**" if row["quantum"] else row["model"]
        yield (
            f"| {name} | {row['front']} | {row['parameters']:,} | {reached['median']:.1%} "
            f"| {reached['min']:.1%} to {reached['max']:.1%} | {number(row['seconds']['median'])} |"
        )


def _cell(row: Row) -> tuple[Any, ...]:
    kind = "complex64" if row["dtype"] == "float32" else "complex128"
    return (*(row[name] for name in SIZE), kind)


def _reason(gone: Sequence[Row], cell: tuple[Any, ...], simulator: str) -> str:
    """Why a simulator was not measured: here, or in a cell that is not larger."""
    for row in gone:
        there = _cell(row)
        if (
            row["simulator"] == simulator
            and there[3] == cell[3]
            and all(a <= b for a, b in zip(there[:3], cell[:3], strict=True))
        ):
            return "over 16 GiB" if "GiB" in row["given_up"] else "over 60 s"
    return ""
