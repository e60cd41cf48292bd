"""Wide tables: a column for each simulator, and what became of those that were given up."""

from __future__ import annotations

from typing import Any

from benchmarks import wide


def measured(simulator: str, batch: int, ms: float, call: str = "forward") -> dict[str, Any]:
    cell = {"n_qubits": 8, "depth": 2, "batch": batch, "dtype": "float32"}
    return {"simulator": simulator, "call": call, "ms": {"median": ms}, **cell}


def test_a_row_has_every_simulator_and_says_which_gave_up_here_or_at_less() -> None:
    gone = {"simulator": "slow", "given_up": "forward over 60 s", **measured("", 32, 0)} | {
        "simulator": "slow"
    }
    del gone["ms"]
    rows = [
        measured("ours", 1, 0.1234), measured("slow", 1, 1234.5), measured("ours", 32, 1.0), gone,
        measured("ours", 256, 9.0), measured("ours", 256, 30.0, "gradient"),
    ]  # fmt: skip
    assert list(wide.speeds(rows)) == [
        "| qubits | depth | batch | numbers | ms of | ours | slow |",
        "|---|---|---|---|---|---|---|",
        "| 8 | 2 | 1 | complex64 | forward | 0.123 | 1,234 |",
        "| 8 | 2 | 32 | complex64 | forward | 1 | over 60 s |",
        "| 8 | 2 | 256 | complex64 | forward | 9 | over 60 s |",
        "| 8 | 2 | 256 | complex64 | forward + backward | 30 | over 60 s |",
    ]
    assert len(list(wide.speeds(rows, call="gradient"))) == 3


def test_results_of_other_programs_have_no_such_table() -> None:
    assert list(wide.speeds([{"peer": "faiss", "ms": {"median": 1.0}}])) == []
    assert list(wide.accuracies([{"peer": "faiss"}], "all")) == []


def test_models_with_circuits_stand_out() -> None:
    reached = {"median": 0.8123, "min": 0.8, "max": 0.82}
    row = {
        "task": "all", "model": "fused", "front": "area", "quantum": True, "parameters": 1234,
        "accuracy": reached, "seconds": {"median": 4.321},
    }  # fmt: skip
    assert list(wide.accuracies([row, {**row, "task": "few"}], "all"))[2:] == [
        "| **fused** | area | 1,234 | 81.2% | 80.0% to 82.0% | 4.32 |"
    ]
