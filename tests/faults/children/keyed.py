"""Makes keyed requests from several threads until it is killed. Arguments: directory, first number, threads.

Says "writer number" before each request and "writer number sequence count" once it is acknowledged.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import traceback
from pathlib import Path

from qstore_db.engines.base import CollectionSpec
from qstore_db.engines.embedded.engine import EmbeddedEngine
from qstore_db.testing.faults.keyed import DIMENSION, Request


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())  # one write: lines of several threads never mix


def write(engine: EmbeddedEngine, writer: int, first: int) -> None:
    for number in itertools.count(first):
        request = Request(writer, number)
        say(f"{writer} {number}")
        written = engine.write("c", request.writes, key=request.key).result()
        say(f"{writer} {number} {written.sequence} {written.count}")


def fail(args: threading.ExceptHookArgs) -> None:
    """A writer that fails ends the process, so that whoever started it hears of it."""
    traceback.print_exception(args.exc_value)
    os._exit(1)


def main() -> None:
    threading.excepthook = fail
    directory, first, writers = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    engine = EmbeddedEngine(directory)
    if not engine.has_collection("c"):
        engine.create_collection(CollectionSpec("c", DIMENSION))
    for writer in range(writers):
        threading.Thread(target=write, args=(engine, writer, first)).start()


main()
