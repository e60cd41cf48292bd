"""What a server is started with. One value, frozen; every field is typed and has its environment variable."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qstore_db.config import DatabaseConfig
from qstore_db.errors import ConfigurationError
from qstore_db.settings import check_names, refusal, values_of, variables_of
from qstore_server.certificates import CERTIFICATE_FILE, KEY_FILE
from qstore_server.kinds import COUNT, FLAG, HOST, MILLISECONDS, PATH, PORT, SECONDS, SIZE, choice
from qstore_server.sources import DATABASE, Source, find

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["json", "text"]

_HIDDEN = "<secret>"
_KIB, _MIB = 1 << 10, 1 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it is in effect."""

    name: str
    """Those of the database are named `database.<field>`."""
    value: Any
    """Plain data. A secret is "<secret>"."""
    source: Source


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of one server. Unknown names and wrong values raise ConfigurationError naming the field.

    `load` reads flags, environment variables and a file, in this order of precedence; the constructor reads
    nothing. A size is a number of bytes; as text it may be written as 64MiB, with KiB, MiB or GiB.
    """

    path: str | os.PathLike[str] = PATH.setting("", "QSTORE_PATH")
    """Directory of the database, made if absent. Required."""
    host: str = HOST.setting("127.0.0.1", "QSTORE_SERVER_HOST")
    """Address to listen on."""
    port: int = PORT.setting(7740, "QSTORE_SERVER_PORT")
    """0: any free one."""
    http_host: str = HOST.setting("127.0.0.1", "QSTORE_SERVER_HTTP_HOST")
    """Address of /health and /metrics, which know neither tokens nor TLS."""
    http_port: int | None = PORT.optional("off").setting(7741, "QSTORE_SERVER_HTTP_PORT")
    """0: any free one. None, as text "off": no HTTP. The default one is done without where it is taken."""
    tls_certificate: str | os.PathLike[str] | None = PATH.optional("off").setting(
        None, "QSTORE_SERVER_TLS_CERTIFICATE"
    )
    """File of the certificate and its chain, PEM. None: no TLS."""
    tls_key: str | os.PathLike[str] | None = PATH.optional("off").setting(None, "QSTORE_SERVER_TLS_KEY")
    """File of its private key, PEM, not encrypted."""
    dev_certificate: bool = FLAG.setting(False, "QSTORE_SERVER_DEV_CERTIFICATE")
    """True: TLS with a certificate that signs itself, made in the directory's folder `tls`. For development."""
    require_token: bool | None = FLAG.optional("auto").setting(None, "QSTORE_SERVER_REQUIRE_TOKEN")
    """Whether a client has to show a token. None, as text "auto": unless both addresses are loopback."""
    allow_insecure: bool = FLAG.setting(False, "QSTORE_SERVER_ALLOW_INSECURE")
    """True: listen on other addresses than loopback without tokens, TLS or both."""
    max_connections: int = COUNT.setting(4096, "QSTORE_SERVER_MAX_CONNECTIONS")
    """One more is refused."""
    max_unauthenticated: int = COUNT.setting(256, "QSTORE_SERVER_MAX_UNAUTHENTICATED")
    """Connections that have not shown who they are yet."""
    max_requests: int = COUNT.setting(256, "QSTORE_SERVER_MAX_REQUESTS")
    """Requests in flight on one connection."""
    connection_bytes: int = SIZE.setting(64 * _MIB, "QSTORE_SERVER_CONNECTION_BYTES")
    """Bytes in flight on one connection."""
    server_bytes: int = SIZE.setting(512 * _MIB, "QSTORE_SERVER_SERVER_BYTES")
    """Bytes in flight on all connections together."""
    request_bytes: int = SIZE.setting(256 * _MIB, "QSTORE_SERVER_REQUEST_BYTES")
    """Bytes of one streamed request, from its first chunk to its last."""
    window: int = SIZE.setting(4 * _MIB, "QSTORE_SERVER_WINDOW")
    """Bytes of one stream that may be sent before the receiver asks for more."""
    idle_seconds: float = SECONDS.setting(3600, "QSTORE_SERVER_IDLE_SECONDS")
    """A connection on which nothing happened for so long is closed."""
    frame_seconds: float = SECONDS.setting(5.0, "QSTORE_SERVER_FRAME_SECONDS")
    """A frame must be complete within this time and that of its bytes at `frame_rate`."""
    frame_rate: int = SIZE.setting(16 * _KIB, "QSTORE_SERVER_FRAME_RATE")
    """Bytes a second at which the slowest accepted client sends."""
    drain_seconds: float = SECONDS.setting(30, "QSTORE_SERVER_DRAIN_SECONDS")
    """How long a stop waits for requests that were accepted."""
    slow_query_ms: float = MILLISECONDS.setting(250, "QSTORE_SERVER_SLOW_QUERY_MS")
    """A request that takes longer is logged, unless it may take as long as it takes."""
    log_level: LogLevel = choice("debug", "info", "warning", "error").setting(
        "info", "QSTORE_SERVER_LOG_LEVEL"
    )
    """The least that is logged."""
    log_format: LogFormat = choice("json", "text").setting("json", "QSTORE_SERVER_LOG_FORMAT")
    """One JSON object a line, or text for people."""
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    """How the database is opened, without its path."""
    sources: Mapping[str, Source] = field(default_factory=dict, compare=False, repr=False)
    """Where `load` found each setting that is no default."""

    def __new__(cls, **settings: Any) -> ServerConfig:
        check_names("ServerConfig", settings, [f.name for f in fields(cls)])
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if self.path == "":
            raise ConfigurationError(
                "path is not set; name the database directory by --path, QSTORE_PATH or path in [server] of a file",
                subject="path",
            )
        for f in fields(self):
            kind = f.metadata.get("kind")
            value = getattr(self, f.name)
            if kind is not None and not kind.allows(value):
                raise refusal(f.name, value, kind.must)
        if not isinstance(self.database, DatabaseConfig):
            raise refusal("database", self.database, "must be a DatabaseConfig")
        if self.database.path is not None:
            raise refusal("database.path", self.database.path, "belongs in path", subject="database")
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing = "tls_key" if self.tls_key is None else "tls_certificate"
            raise refusal(missing, None, "must be given: TLS takes both a certificate and its key")
        if self.dev_certificate and self.tls_certificate is not None:
            raise refusal("dev_certificate", True, "takes the place of tls_certificate and tls_key: give one")
        if self.port == self.http_port != 0 and self.host == self.http_host:
            raise refusal("http_port", self.http_port, "is the port of the server itself; choose another")
        if not self.allow_insecure:
            self._check_exposure()

    def _check_exposure(self) -> None:
        remedy = "bind 127.0.0.1, or set allow_insecure where the network itself is trusted"
        if not is_loopback(self.host) and (self.tls is None or not self.needs_token):
            lack = "TLS" if self.tls is None else "tokens"
            cure = "set tls_certificate and tls_key" if self.tls is None else "leave require_token as it is"
            raise refusal("host", self.host, f"can be reached by others, without {lack}; {cure}, {remedy}")
        if self.http_port is not None and not is_loopback(self.http_host):
            why = "shows health and metrics to others, without token and TLS; "
            raise refusal("http_host", self.http_host, why + remedy)

    @classmethod
    def load(
        cls, file: Path | None = None, environment: Mapping[str, str] | None = None, **flags: Any
    ) -> ServerConfig:
        """The settings that flags, environment variables (None: those of the process) and a TOML file give.

        What a flag says goes before what a variable says, that before the file, that before the defaults. A flag
        that is None was not given. A text is read as in the environment, wherever it stands. The file has the
        tables `[server]` and `[database]`; the latter's fields are those of `DatabaseConfig`, without its path
        and its secrets.
        """
        found = find(cls, file, os.environ if environment is None else environment, flags)
        settings = values_of(cls, found.of_server())
        of_database = values_of(DatabaseConfig, found.of_database())
        try:
            return cls(**settings, database=DatabaseConfig(**of_database), sources=found.sources)
        except ConfigurationError as error:
            raise found.placed(error) from None

    def replace(self, **settings: Any) -> ServerConfig:
        """The same settings with some changed."""
        check_names("ServerConfig", settings, [f.name for f in fields(self)])
        return replace(self, **settings)

    def describe(self) -> tuple[Setting, ...]:
        """Every setting as it is in effect, and where it comes from; no secrets."""
        values = {name: getattr(self, name) for name in variables_of(ServerConfig)}
        values["require_token"] = self.needs_token
        database = self.to_open
        for f in fields(database):
            value = getattr(database, f.name)
            values[DATABASE + f.name] = _HIDDEN if f.metadata["secret"] and value is not None else value
        del values[DATABASE + "path"]
        return tuple(
            Setting(
                name,
                os.fspath(value) if isinstance(value, os.PathLike) else value,
                self.sources.get(name, "default"),
            )
            for name, value in values.items()
        )

    @property
    def directory(self) -> Path:
        """`path`, with a leading ~ expanded."""
        return Path(self.path).expanduser()

    @property
    def development_folder(self) -> Path:
        """Where the certificate for development is."""
        return self.directory / "tls"

    @property
    def tls(self) -> tuple[Path, Path] | None:
        """The files of certificate and key, with a leading ~ expanded; None without TLS."""
        if self.dev_certificate:
            return self.development_folder / CERTIFICATE_FILE, self.development_folder / KEY_FILE
        if self.tls_certificate is None or self.tls_key is None:
            return None
        return Path(self.tls_certificate).expanduser(), Path(self.tls_key).expanduser()

    @property
    def is_http_port_default(self) -> bool:
        """Whether nobody asked for the port of health and metrics."""
        (default,) = (f.default for f in fields(self) if f.name == "http_port")
        return "http_port" not in self.sources and self.http_port == default

    @property
    def needs_token(self) -> bool:
        """Whether a client has to show a token."""
        if self.require_token is not None:
            return self.require_token
        hosts = [self.host] if self.http_port is None else [self.host, self.http_host]
        return not all(map(is_loopback, hosts))

    @property
    def to_open(self) -> DatabaseConfig:
        """What the database is opened with."""
        return self.database.replace(path=self.path)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost may mean anything: no."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
