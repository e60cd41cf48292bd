"""The suite's own rules: what a missing program means."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest


def test_a_program_that_is_there_is_given_by_its_path(require_tool: Callable[[str], str]) -> None:
    assert require_tool("sh") == shutil.which("sh")


def test_a_missing_program_skips_the_test_by_its_name(
    require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QSTORE_REQUIRE_TOOLS", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        require_tool("no-such-program")


def test_a_missing_program_is_a_failure_where_all_tools_are_required(
    require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QSTORE_REQUIRE_TOOLS", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program"):
        require_tool("no-such-program")
