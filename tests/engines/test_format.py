"""What marks a directory as a database, and what happens when its records are gone."""

from __future__ import annotations

from pathlib import Path

import pytest

from qstore_db.catalog.environment import DATA_FILE
from qstore_db.engines.embedded.engine import RECORDS_FOLDER, EmbeddedEngine
from qstore_db.engines.embedded.format import MARKER
from qstore_db.errors import CorruptionError


@pytest.mark.parametrize("leave_empty", [True, False])
def test_a_database_whose_data_file_is_lost_does_not_open_as_an_empty_one(
    tmp_path: Path, leave_empty: bool
) -> None:
    EmbeddedEngine(tmp_path).close()
    data = tmp_path / RECORDS_FOLDER / DATA_FILE
    if leave_empty:
        data.write_bytes(b"")
    else:
        data.unlink()
    with pytest.raises(CorruptionError, match="restore it from a backup") as caught:
        EmbeddedEngine(tmp_path)
    assert caught.value.subject == str(data)


def test_a_database_that_lost_only_its_marker_opens_and_gets_it_back(tmp_path: Path) -> None:
    EmbeddedEngine(tmp_path).close()
    (tmp_path / MARKER).unlink()
    EmbeddedEngine(tmp_path).close()
    assert (tmp_path / MARKER).read_text() == "qstore-db database, format 1\n"
