"""The sync face is the generated twin of the async one."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest

from qstore_db import AsyncQuantumDatabase, QuantumDatabase

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sync", ROOT / "tools" / "make_sync.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sync_sources_are_what_the_tool_writes(tool: ModuleType) -> None:
    written = {path.name: path.read_text() for path in tool.TARGET.glob("*.py")}
    assert written == tool.sync_sources(), "run tools/make_sync.py"


def test_no_word_of_waiting_is_left_in_the_sync_sources(tool: ModuleType) -> None:
    for path in tool.TARGET.glob("*.py"):
        assert not {"async", "await"} & set(path.read_text().split())


def test_both_faces_have_the_same_calls_and_signatures() -> None:
    def calls(face: type) -> dict[str, list[inspect.Parameter]]:
        return {
            name: list(inspect.signature(call).parameters.values())
            for name, call in inspect.getmembers(face, callable)
            if not name.startswith("_")
        }

    assert calls(QuantumDatabase) == calls(AsyncQuantumDatabase)


def test_every_call_of_the_async_face_is_awaited() -> None:
    for name, call in inspect.getmembers(AsyncQuantumDatabase, callable):
        waits = inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)
        assert name.startswith("_") or waits, name


@pytest.mark.parametrize("face", [QuantumDatabase, AsyncQuantumDatabase])
def test_every_call_has_a_docstring(face: type) -> None:
    for name, call in inspect.getmembers(face, callable):
        assert name.startswith("_") or call.__doc__, name
