"""Options, hypothesis profiles and fixtures that every part of the suite may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, settings

Chromium: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]
_QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
)

# No deadlines: the machines that run this are shared, and a slow example is not a wrong one.
settings.register_profile("default", deadline=None, max_examples=50, print_blob=True)
# CI repeats the same examples, so that a red run means a change and not a lucky draw; other runs explore.
settings.register_profile(
    "ci",
    deadline=None,
    max_examples=100,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked `long`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="runs with --long"))


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool("cc")` is the path of that program; without it the test is skipped by its name.

    With QSTORE_REQUIRE_TOOLS set, as in CI, a missing program is a failure instead.
    """

    def require(name: str) -> str:
        path = shutil.which(name)
        if path is not None:
            return path
        if os.environ.get("QSTORE_REQUIRE_TOOLS"):
            pytest.fail(f"{name} is not installed, and QSTORE_REQUIRE_TOOLS is set")
        pytest.skip(f"{name} is not installed")

    return require


@pytest.fixture
def small_disk(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Path]:
    """A file system of 12 MiB, 2 of them taken by the file `ballast`. Only root may mount one."""
    mount, unmount = require_tool("mount"), require_tool("umount")
    point = tmp_path / "disk"
    point.mkdir()
    made = subprocess.run([mount, "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(point)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a tmpfs needs root")
    (point / "ballast").write_bytes(bytes(2 << 20))
    yield point
    subprocess.run([unmount, "-l", str(point)], check=True)


@pytest.fixture
def chromium(require_tool: Callable[[str], str], tmp_path: Path) -> Chromium:
    """Runs Chromium with a fresh profile and no way to any host."""
    program = require_tool("chromium")

    def open_page(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                program,
                *_QUIET,
                f"--user-data-dir={tmp_path / 'profile'}",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                "--enable-logging=stderr",
                *arguments,
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )

    return open_page
