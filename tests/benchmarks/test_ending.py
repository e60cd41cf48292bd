"""A benchmark that is told to end leaves no process behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from benchmarks.__main__ import end_in_order_upon_sigterm
from benchmarks.servers.base import free_port, started

end_in_order_upon_sigterm()
port = free_port()
serving = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); time.sleep(600)"
print(started([sys.executable, "-c", serving], port, Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""


def test_a_benchmark_that_is_told_to_end_ends_the_servers_that_it_started(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "log")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    server = int(program.stdout.readline())
    assert is_running(server)
    program.send_signal(signal.SIGTERM)
    assert program.wait(60) == 128 + signal.SIGTERM
    program.stdout.close()
    until = time.monotonic() + 60.0
    while is_running(server):
        assert time.monotonic() < until
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
