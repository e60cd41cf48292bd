"""Logs: one object a line, no secrets, and nobody waits for whoever reads them."""

from __future__ import annotations

import datetime as dt
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from qstore_db.errors import ConfigurationError
from qstore_server.config import LogFormat, LogLevel
from qstore_server.logs import JsonLines, LineHandler, structured_logging

log = logging.getLogger("qstore_server.test")
TOKEN = f"qst_0123456789ab_{'s-_S' * 10}sss"


def written(*calls: Any, form: LogFormat = "json", level: LogLevel = "debug") -> list[str]:
    """The lines of what `calls` log."""
    stream = io.StringIO()
    with structured_logging(level, form, stream):
        for call in calls:
            call()
    return stream.getvalue().splitlines()


def logged(event: str, level: int = logging.INFO, /, **extra: Any) -> dict[str, Any]:
    (line,) = written(lambda: log.log(level, event, extra=extra))
    found = json.loads(line)
    assert isinstance(found, dict)
    return found


def refuse() -> None:
    raise ConfigurationError(f"no {TOKEN}\nforged line")


def fail() -> None:
    try:
        refuse()
    except ConfigurationError:
        log.exception("request failed", extra={"id": 7})


def test_a_line_has_time_level_logger_event_and_fields() -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(milliseconds=1)
    found = logged("slow query", logging.WARNING, collection="clothes", ms=812.5, ids=["a", 1, None])
    assert before <= dt.datetime.fromisoformat(found.pop("time")) <= dt.datetime.now(dt.UTC)
    assert found == {
        "level": "warning",
        "logger": "qstore_server.test",
        "event": "slow query",
        "collection": "clothes",
        "ms": 812.5,
        "ids": ["a", 1, None],
    }


def test_a_field_cannot_stand_for_what_every_line_has() -> None:
    found = logged("event", level_="x", time="never", event="forged", logger="forged")
    assert (found["event"], found["logger"], found["level_"]) == ("event", "qstore_server.test", "x")
    assert found["time"] != "never"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("db"), "db"),
        (float("nan"), "nan"),
        ({1: float("inf"), "a": (b"x",)}, {"1": "inf", "a": ["b'x'"]}),
        ("a\nb\u2028\x1b", "a\nb\u2028\x1b"),
        ("\ud800", "\ud800"),
        (True, True),
    ],
)
def test_any_value_makes_one_line_of_strict_json(value: object, shown: object) -> None:
    (line,) = written(lambda: log.info("event", extra={"value": value}))
    assert json.loads(line, parse_constant=pytest.fail)["value"] == shown


def test_an_exception_is_a_field_of_its_line() -> None:
    (line,) = written(fail)
    found = json.loads(line)
    assert (found["event"], found["id"], found["level"]) == ("request failed", 7, "error")
    assert "ConfigurationError: no qst_***\nforged line" in found["exception"]
    assert "in refuse" in found["exception"]


def test_a_call_whose_arguments_do_not_fit_is_logged_as_it_is() -> None:
    line = JsonLines().format(logging.makeLogRecord({"msg": "%d of %s", "args": ("x",)}))
    assert json.loads(line)["event"] == "%d of %s"


def test_what_is_below_the_level_is_left_out() -> None:
    for level, events in (("debug", 4), ("info", 3), ("warning", 2), ("error", 1)):
        calls = [lambda each=each: log.log(each, "event") for each in (10, 20, 30, 40)]
        assert len(written(*calls, level=level)) == events  # type: ignore[arg-type]


def test_other_libraries_and_warnings_are_logged_in_the_same_form() -> None:
    def warn() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)  # pytest took them over
            warnings.warn("careful", stacklevel=1)

    lines = written(lambda: logging.getLogger("asyncio").error("from %s", "elsewhere"), warn)
    first, second = (json.loads(line) for line in lines)
    assert (first["logger"], first["event"]) == ("asyncio", "from elsewhere")
    assert second["logger"] == "py.warnings"
    assert "careful" in second["event"]


def test_afterwards_logging_is_as_it_was() -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with pytest.raises(ZeroDivisionError), structured_logging("debug", "json", io.StringIO()):
        raise ZeroDivisionError
    assert (root.level, root.handlers) == before


# For people


def test_text_has_the_event_and_its_fields() -> None:
    extra = {"collection": "clothes", "ms": 812.5, "ids": ["a b"], "who": "a b"}
    (line,) = written(lambda: log.info("slow query", extra=extra), form="text")
    time, rest = line.split(" ", 1)
    assert dt.datetime.fromisoformat(time).tzinfo is not None
    assert rest == 'info    slow query collection=clothes ms=812.5 ids=["a b"] who="a b"'


@pytest.mark.parametrize("sign", ["\n", "\r", "\x1b[2J", "\u2028", "\x85", "\x00"])
def test_text_cannot_be_forged_by_what_is_in_an_event_or_a_field(sign: str) -> None:
    (line,) = written(lambda: log.info(f"a{sign}b", extra={"field": f"c{sign}d"}), form="text")
    assert line.isprintable()
    assert json.dumps(f"a{sign}b") in line
    assert f"field={json.dumps(f'c{sign}d')}" in line


def test_text_shows_an_exception_indented_below() -> None:
    first, *rest = written(fail, form="text")
    assert first.endswith("error   request failed id=7")
    assert rest[-2:] == ["    qstore_db.errors.ConfigurationError: no qst_***", "    forged line"]
    assert all(line.startswith("    ") for line in rest)


# Secrets


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_token_is_ever_written(form: LogFormat) -> None:
    class Request:
        def __str__(self) -> str:
            return f"<Request {TOKEN}>"

    lines = written(
        lambda: log.info(f"hello {TOKEN}"),
        lambda: log.info("hello %s and %r", TOKEN, TOKEN.encode()),
        lambda: log.info("hello", extra={"token": TOKEN}),
        lambda: log.info("hello", extra={"nested": {TOKEN: [TOKEN, f"a{TOKEN}"]}}),
        lambda: log.info("hello", extra={"request": Request(), "raw": TOKEN.encode()}),
        lambda: log.info("hello", extra={TOKEN: 1}),
        fail,
        form=form,
    )
    text = "\n".join(lines)
    assert text.count("qst_***") >= 9
    assert "s-_S" not in text


# Nobody waits


class Stuck(io.StringIO):
    """A stream that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()

    def write(self, text: str) -> int:
        assert self.free.wait(60)
        return super().write(text)


def test_who_logs_does_not_wait_for_the_stream_and_dropped_lines_are_counted() -> None:
    stream = Stuck()
    handler = LineHandler(stream, capacity=5)
    handler.setFormatter(JsonLines())
    for i in range(100):  # returns at all: the stream takes nothing yet
        handler.handle(logging.makeLogRecord({"msg": "event", "i": i}))
    stream.free.set()
    while not handler._lines.empty():
        threading.Event().wait(0.01)
    handler.handle(logging.makeLogRecord({"msg": "last"}))
    handler.close()
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    kept = [line["i"] for line in found if line["event"] == "event"]
    assert kept == list(range(len(kept)))
    assert [line["count"] for line in found if line["event"] == "log lines dropped"] == [100 - len(kept)]
    assert 0 < len(kept) < 100
    assert found[-1]["event"] == "last"


def test_a_stream_that_is_gone_disturbs_nobody() -> None:
    stream = io.StringIO()
    with structured_logging("info", "json", stream):
        stream.close()
        log.info("into the void")


def test_the_last_lines_of_a_process_are_written() -> None:
    program = (
        "import logging\n"
        "from qstore_server.logs import structured_logging\n"
        "with structured_logging('info', 'json'):\n"
        "    for i in range(500): logging.info('event', extra={'i': i})\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["i"] for line in done.stderr.splitlines()] == list(range(500))
    assert done.stdout == ""
