"""Runs benchmarks and shows their results: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import table
from benchmarks.environment import describe
from benchmarks.harness import Options, Report
from benchmarks.plots import draw

PROGRAMS = (
    "embedded_search",
    "filtered_search",
    "context_query",
    "contexts_depth",
    "tunnel",
    "tunnel_defaults",
    "ingest",
    "server_search",
    "server_ingest",
    "soak",
    "objective",
    "engine_speed",
    "layer_speed",
    "layer_gpu",
    "fashion_mnist",
    "expressivity",
    "pooling",
    "few_shot",
    "claims",
)
QUICK_RESULTS = Path("out/benchmarks-quick")


def main(arguments: list[str] | None = None) -> int:
    """Run the named programs, all by default. A missed gate is a finding, not a failure: the status stays 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Run benchmarks.")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"of {', '.join(PROGRAMS)}; all by default",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that the programs work")
    parser.add_argument("--data", type=Path, help="folder with the full Fashion-MNIST")
    parser.add_argument("--out", type=Path, help="where results go; benchmarks/results by default")
    parser.add_argument(
        "--scratch",
        type=Path,
        default=Path("out"),
        help="where databases are made; out",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="how long soak keeps its load up; 60")
    parser.add_argument(
        "--publish", action="store_true", help="only write the results into the README and docs/"
    )
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.names if name not in PROGRAMS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(PROGRAMS)}")
    results = chosen.out or (QUICK_RESULTS if chosen.quick else table.RESULTS)
    if chosen.publish:
        _publish(results)
        return 0
    results.mkdir(parents=True, exist_ok=True)
    chosen.scratch.mkdir(parents=True, exist_ok=True)
    gates: list[bool] = []
    for name in chosen.names or PROGRAMS:
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=chosen.scratch) as scratch:
            report = _run(name, Options(chosen.quick, chosen.data, Path(scratch), chosen.seconds), results)
        gates += [figure["gate"]["met"] for figure in report.figures if figure["gate"] is not None]
    print(f"{sum(gates)} of {len(gates)} gates met")
    return 0


def _publish(results: Path) -> None:
    for document, name, rows in (
        (Path("README.md"), "benchmarks", table.gates_table(results)),
        (Path("README.md"), "engine", table.speeds_table("engine_speed", results)),
        (Path("README.md"), "layers", table.speeds_table("layer_speed", results)),
        (Path("README.md"), "models", table.models_table(results)),
        (Path("docs/benchmarks.md"), "benchmarks", table.figures(results)),
        (Path("docs/claims.md"), "claims", table.claims_table(results)),
    ):
        done = table.publish(document, name, rows)
        print(
            f"{document}: {'written' if done else f'has no <!-- {name} --> ... <!-- /{name} -->, left alone'}"
        )


def _run(name: str, options: Options, results: Path) -> Report:
    program = importlib.import_module(f"benchmarks.{name}")
    environment = describe(options.scratch)
    print(f"{name}: {program.QUESTION}", flush=True)
    started = time.monotonic()
    report: Report = program.run(options)
    report.settings = {"quick": options.quick, **report.settings}
    data = {
        **report.as_data(),
        "environment": environment,
        "seconds": round(time.monotonic() - started),
    }
    (results / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    draw(report.question, report.panels, results / f"{name}.png")
    for peer, why in report.skipped.items():
        print(f"  skipped {peer}: {why}")
    return report


def end_in_order_upon_sigterm() -> None:
    """What was started is ended then, as upon an interrupt: servers, load processes, the scratch folder."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


if __name__ == "__main__":
    end_in_order_upon_sigterm()
    sys.exit(main())
