"""The container files, as far as they can be tested without a container engine: no image is built here."""

from __future__ import annotations

import fnmatch
import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from qstore_db import DatabaseConfig
from qstore_db.cli import exits, main
from qstore_db.errors import ConfigurationError
from qstore_db.settings import variables_of
from qstore_server.certificates import development_certificate
from qstore_server.config import ServerConfig, is_loopback

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VARIABLES = {*variables_of(ServerConfig).values(), *DatabaseConfig.variables().values()}
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICE: dict[str, Any] = COMPOSE["services"]["qstore"]


def instructions() -> list[list[tuple[str, str]]]:
    """The instructions of each stage: name and rest, continued lines joined."""
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    stages: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            name, rest = line.split(maxsplit=1)
            if name == "FROM":
                stages.append([])
            stages[-1].append((name, rest))
    return stages


BUILD, FINAL = instructions()


def only(name: str) -> str:
    """The rest of an instruction that the final stage has once."""
    (rest,) = [rest for each, rest in FINAL if each == name]
    return rest


def variables_in(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(word.split("=", 1) for name, rest in stage if name == "ENV" for word in shlex.split(rest))


def sources() -> list[str]:
    """What the build copies from the repository."""
    copies = [rest.split() for stage in (BUILD, FINAL) for name, rest in stage if name in ("COPY", "ADD")]
    return [source for words in copies if not words[0].startswith("--from=") for source in words[:-1]]


ENTRYPOINT: list[str] = json.loads(only("ENTRYPOINT"))
FLAGS = dict(zip(ENTRYPOINT[2::2], ENTRYPOINT[3::2], strict=True))


# The image


def test_every_instruction_is_one_that_docker_knows() -> None:
    known = {"FROM", "WORKDIR", "COPY", "ENV", "RUN", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert {name for stage in (BUILD, FINAL) for name, _ in stage} == known | {"ENTRYPOINT"}


def test_both_stages_have_the_python_that_the_package_needs() -> None:
    images = [stage[0][1].split()[0] for stage in (BUILD, FINAL)]
    assert images == ["python:3.11-slim"] * 2  # a virtual environment is moved from one to the other
    assert PROJECT["project"]["requires-python"] == ">=3.11"


def test_every_copied_source_exists_and_reaches_the_build() -> None:
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert sources()
    for source in sources():
        assert (ROOT / source).exists(), source
        ignored = False
        for pattern in patterns:
            if fnmatch.fnmatch(source, pattern.removeprefix("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, source
    assert {pattern[1:] for pattern in patterns if pattern[0] == "!"} == set(sources())


def test_what_is_copied_is_enough_to_build_the_whole_wheel(tmp_path: Path) -> None:
    context = tmp_path / "src"
    context.mkdir()
    for source in sources():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, context / source)
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(tmp_path), str(context)]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    found = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".py")}
    expected = {
        path.relative_to(root).as_posix()
        for root in (ROOT, ROOT / "server", ROOT / "client")
        for path in root.glob("qstore_*/**/*.py")
    }
    assert found == expected


def test_the_extra_that_is_installed_is_that_of_the_server() -> None:
    extras = set(re.findall(r"\[([\w,]+)\]\"", " ".join(rest for name, rest in BUILD if name == "RUN")))
    assert extras == {"server"}
    assert "server" in PROJECT["project"]["optional-dependencies"]


def test_it_does_not_run_as_root_and_owns_its_data_only() -> None:
    user, group = only("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    run = only("RUN")
    assert f"useradd --uid {user} --gid {group}" in run
    assert f"install -d -o {user} -g {group} -m 0700 {only('VOLUME')}" in run
    order = [name for name, _ in FINAL]
    assert order.index("USER") > max(i for i, name in enumerate(order) if name in ("RUN", "COPY"))


def test_the_entrypoint_serves_the_volume_with_settings_that_exist() -> None:
    assert ENTRYPOINT[:2] == ["qstore", "serve"]
    assert {flag.removeprefix("--").replace("-", "_") for flag in FLAGS} <= set(variables_of(ServerConfig))
    assert FLAGS["--path"] == only("VOLUME")
    assert only("EXPOSE") == str(ServerConfig(path="x").port)


@pytest.mark.parametrize(("with_tls", "code"), [(True, exits.OK), (False, exits.CONFIGURATION)])
def test_the_entrypoint_is_a_command_line_that_starts_with_tls_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_tls: bool, code: int
) -> None:
    data = tmp_path / "data"
    if with_tls:
        certificate, key = development_certificate(tmp_path / "secrets")
        monkeypatch.setenv("QSTORE_SERVER_TLS_CERTIFICATE", str(certificate))
        monkeypatch.setenv("QSTORE_SERVER_TLS_KEY", str(key))
    words = [str(data) if word == FLAGS["--path"] else word for word in ENTRYPOINT[1:]]
    assert main([*words, "--check"]) == code
    assert not data.exists()


def test_it_stops_by_the_signal_that_drains() -> None:
    assert only("STOPSIGNAL") == "SIGTERM"


def test_no_variable_is_named_that_no_setting_reads() -> None:
    texts = [file.read_text() for file in FOLDER.iterdir() if file.is_file()]
    named = {name for text in texts for name in re.findall(r"QSTORE_[A-Z_]+", text)}
    assert named - {"QSTORE_SERVER_TLS_"} <= VARIABLES
    assert "QSTORE_SERVER_HTTP_PORT" in named


# Its health


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A server that answers /health with `status`; its port."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(port: int | str) -> int:
    words = json.loads(only("HEALTHCHECK").partition("CMD ")[2])
    assert words[0] == "python"
    environment = {"QSTORE_SERVER_HTTP_PORT": str(port)}
    done = subprocess.run([sys.executable, *words[1:]], env=environment, capture_output=True, timeout=60)
    return done.returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1), (404, 1)])
def test_the_health_check_says_what_the_server_says(status: int, code: int) -> None:
    with answering(status) as port:
        assert health(port) == code


def test_a_server_that_does_not_answer_is_not_healthy() -> None:
    with answering(200) as port:
        pass
    assert health(port) != 0
    assert health("off") != 0


def test_the_health_check_asks_the_default_port_where_none_is_set() -> None:
    assert f"'QSTORE_SERVER_HTTP_PORT', {ServerConfig(path='x').http_port})" in only("HEALTHCHECK")


# Compose


def settings(environment: dict[str, str]) -> ServerConfig:
    """What the container runs with, in that environment."""
    flags = {flag.removeprefix("--").replace("-", "_"): value for flag, value in FLAGS.items()}
    return ServerConfig.load(None, {**variables_in(FINAL), **environment}, **flags)


def test_the_service_has_tls_and_wants_tokens_and_the_image_alone_refuses_to_start() -> None:
    assert settings(SERVICE["environment"]).needs_token
    assert settings(SERVICE["environment"]).tls is not None
    with pytest.raises(ConfigurationError, match="without TLS"):
        settings({})


def test_certificate_and_key_are_secrets_that_are_mounted_where_they_are_looked_for() -> None:
    used = {
        Path(value).name for value in SERVICE["environment"].values() if value.startswith("/run/secrets/")
    }
    assert used == set(SERVICE["secrets"]) == set(COMPOSE["secrets"]) == {"tls_certificate", "tls_key"}


def test_the_image_is_built_from_this_repository() -> None:
    assert (FOLDER / SERVICE["build"]["context"]).resolve() == ROOT
    assert (ROOT / SERVICE["build"]["dockerfile"]) == FOLDER / "Dockerfile"


def test_ports_are_published_on_loopback_only() -> None:
    for port in SERVICE["ports"]:
        host, outside, inside = port.split(":")
        assert is_loopback(host)
        assert outside == inside == only("EXPOSE")


def test_nothing_but_the_volume_and_tmp_can_be_written_to() -> None:
    assert SERVICE["read_only"] is True
    assert SERVICE["tmpfs"] == ["/tmp"]
    (mount,) = SERVICE["volumes"]
    volume, target = mount.split(":")
    assert volume in COMPOSE["volumes"]
    assert target == only("VOLUME")
    assert SERVICE["cap_drop"] == ["ALL"]
    assert SERVICE["security_opt"] == ["no-new-privileges:true"]


def test_the_health_check_is_that_of_the_image() -> None:
    assert "test" not in SERVICE["healthcheck"]
    assert "disable" not in SERVICE["healthcheck"]


def test_a_stop_waits_longer_than_the_server_drains() -> None:
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > ServerConfig(path="x").drain_seconds
