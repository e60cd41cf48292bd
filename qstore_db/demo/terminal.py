"""What the demonstration says on the terminal while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from qstore_db.demo.beyond import FAR, Case, Comparison, R
from qstore_db.demo.crash import Kill
from qstore_db.demo.findings import Findings
from qstore_db.demo.serving import ServerProcess
from qstore_db.demo.showcase import Answer
from qstore_db.records import Match


class Terminal:
    """Says each step as it is done; silent when `quiet`."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(highlight=False, markup=False, emoji=False, quiet=quiet)
        self._bars = Console(stderr=True, quiet=quiet)
        self._quiet = quiet

    def begin(self, source: str, directory: Path) -> None:
        self._say(f"Data: {source}")
        self._say(f"Database: {directory}")

    def serving(self, server: ServerProcess, seconds: float) -> None:
        self._say(f"Server: {server.url}, process {server.pid}, with TLS and a token, up in {seconds:.1f} s")
        self._say("A client of it asks everything from here on, and its times are what is printed.")

    def imported(self, count: int, seconds: float) -> None:
        self._say(
            f"Imported {count:,} records, each one durable, in {seconds:.1f} s ({count / seconds:,.0f}/s)"
        )

    def answers(self, answers: Sequence[Answer]) -> None:
        self._head("One ankle boot, asked in six ways")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("query", "ten results", "ms"):
            table.add_column(name, justify="right" if name == "ms" else "left")
        for answer in answers:
            table.add_row(answer.question.title, tally(answer.matches), f"{answer.milliseconds:.1f}")
        self._console.print(table)

    def comparison(self, comparison: Comparison) -> None:
        self._head(f"Beyond the {R} nearest: what else is of the same kind")
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("query", f"kNN, ranks {R + 1}-{R + FAR}", "tunnel_search", "share"):
            table.add_column(name)
        for _, case in comparison.examples():
            table.add_row(case.label, tally(case.plain), tally(case.tunneled), _shares(case))
        self._console.print(table)
        self._say(f"Far P@{FAR} over {len(comparison.cases)} test images, R = {R}, with 95 % intervals:")
        self._say(f"  kNN           {comparison.plain}")
        self._say(f"  tunnel_search {comparison.tunnel}   difference {comparison.difference}")
        self._say(
            f"  better on {comparison.better}, worse on {comparison.worse} of {len(comparison.cases)} queries; "
            f"{comparison.milliseconds:.0f} ms a search"
        )

    def kill(self, round_: int, kill: Kill) -> None:
        if round_ == 0:
            self._head("The server, killed with SIGKILL amid writes, and started again")
            self._say("Acknowledged before the kill + after it; back: the same client has an answer again.")
        check = "intact" if not kill.problems else "; ".join(kill.problems)
        self._say(
            f"  kill {round_ + 1}: {kill.before:,} + {kill.acknowledged - kill.before:,} acknowledged, "
            f"{kill.kept:,} found, {kill.lost} lost; {check}; back in {kill.seconds:.2f} s"
        )

    def after_kills(self, findings: Findings) -> None:
        self._say(f"  the images: {findings.images_after:,} of {findings.imported:,} are there")

    def end(self, report: Path, seconds: float) -> None:
        self._head(f"Done in {seconds:.0f} s")
        self._say(f"Report: {report}")

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, silence elsewhere."""
        if self._quiet or not self._bars.is_terminal:
            yield lambda _count: None
            return
        with Progress(console=self._bars, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda count: bar.advance(task, count)

    def _head(self, text: str) -> None:
        self._console.print()
        self._console.print(text, style="bold")

    def _say(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def tally(matches: Sequence[Match]) -> str:
    """How many of each class, most first."""
    counts = Counter(str(match.metadata["class"]) for match in matches)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _shares(case: Case) -> str:
    return f"{case.plain_share:.2f} -> {case.tunnel_share:.2f}"
