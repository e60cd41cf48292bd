"""docs/server.md says what the settings are."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from qstore_db import DatabaseConfig
from qstore_db.settings import variables_of
from qstore_server.access import Role
from qstore_server.config import ServerConfig

PAGE = (Path(__file__).parents[2] / "docs" / "server.md").read_text(encoding="utf-8")
ROWS = {
    name: (variable, default.strip("`"))
    for name, variable, default in re.findall(r"^\| `(\w+)` \| `(\w+)` \| ([^|]+) \|", PAGE, re.MULTILINE)
}


def test_the_table_has_every_setting_in_order_with_its_variable() -> None:
    assert {name: variable for name, (variable, _) in ROWS.items()} == variables_of(ServerConfig)
    assert list(ROWS) == list(variables_of(ServerConfig))


def test_the_table_has_the_defaults_as_the_environment_would_say_them() -> None:
    for f in fields(ServerConfig):
        if f.name == "path":
            assert ROWS["path"][1] == "required"
        elif f.name in ROWS:
            assert f.metadata["parse"](ROWS[f.name][1]) == f.default, f.name


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    (example,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    file.write_text(example)
    found = ServerConfig.load(file, {})
    assert found.needs_token
    assert found.server_bytes == 2 << 30
    assert found.to_open == DatabaseConfig(path="/var/lib/qstore", build_threads=4)


def test_every_role_has_its_row() -> None:
    section = PAGE.split("## Who gets in")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [str(role) for role in Role]
