"""Structured logs: a JSON object a line, or text for people, written by a thread of its own.

Code logs by the standard `logging`: the message is the event, a fixed word or two, and `extra` its fields.

```
log = logging.getLogger(__name__)
log.info("slow query", extra={"collection": name, "ms": 812})
```
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import math
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from qstore_server.access import hide_tokens
from qstore_server.config import LogFormat, LogLevel

_CAPACITY = 10_000
_PATIENCE = 5.0
_OF_EVERY_RECORD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"))


@contextlib.contextmanager
def structured_logging(level: LogLevel, form: LogFormat, stream: TextIO | None = None) -> Iterator[None]:
    """All that this process logs in the block goes to `stream` (None: stderr), Python's warnings too.

    Whoever logs never waits for the stream: where nobody reads it, the newest lines are dropped beyond 10,000, and
    counted in a line. The end of the block writes what is left, for at most five seconds.
    """
    root = logging.getLogger()
    handler = LineHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


class LineHandler(logging.Handler):
    """Formats where it is called, since what a record refers to may change later; writes in its own thread."""

    def __init__(self, stream: TextIO, capacity: int = _CAPACITY) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str | None] = queue.Queue(capacity)
        self._dropped = 0
        # A daemon: a stream that takes nothing more must not keep the process alive.
        self._thread = threading.Thread(target=self._write, name="qstore-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._dropped:
            note = logging.makeLogRecord(
                {
                    "levelno": logging.WARNING,
                    "levelname": "WARNING",
                    "name": __name__,
                    "msg": "log lines dropped",
                }
            )
            note.count = self._dropped
            if not self._put(self.format(note)):
                self._dropped += 1
                return
            self._dropped = 0
        if not self._put(self.format(record)):
            self._dropped += 1

    def close(self) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=_PATIENCE)
        self._thread.join(_PATIENCE)
        super().close()

    def _put(self, line: str) -> bool:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return False
        return True

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            # A stream that is closed or full has no reader who could be told.
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()


class JsonLines(logging.Formatter):
    """`time`, `level`, `logger`, `event`, the fields, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _event(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        for name, value in _fields(record).items():
            line.setdefault(name, value)
        return hide_tokens(json.dumps(line))


class TextLines(logging.Formatter):
    """The same for people. What a field holds cannot pass for another line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={_word(value)}" for name, value in _fields(record).items())
        event = _event(record)
        shown = event if event.isprintable() else json.dumps(event)
        line = f"{_time(record)} {record.levelname.lower():<7} {shown}{fields}"
        if record.exc_info:
            line += "".join(f"\n    {part}" for part in self.formatException(record.exc_info).splitlines())
        return hide_tokens(line)


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds")


def _event(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):  # arguments that do not fit: no reason to fail a request
        return str(record.msg)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What came in `extra`, as plain data."""
    return {name: _plain(value) for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}


def _plain(value: object) -> Any:
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return str(value)


def _word(value: object) -> str:
    """A value beside its name: bare where it is one printable word."""
    bare = isinstance(value, str) and value.isprintable() and value and not set(value) & set(" =\"'")
    return str(value) if bare else json.dumps(value)
