"""TLS: the context of a server, and a certificate for development that it makes itself."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import re
import secrets
import ssl
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qstore_db.catalog.faults import is_full
from qstore_db.errors import ConfigurationError, DiskFullError

CERTIFICATE_FILE = "development.crt"
KEY_FILE = "development.key"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(\*\.)?[\w-]+(\.[\w-]+)*", re.ASCII)
_DAYS = 365
_RENEW_DAYS = 30


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server speaks TLS 1.2 or newer with.

    Raises ConfigurationError naming the file that is missing, unreadable, of another kind or encrypted, or both
    where they do not belong together.
    """
    for file, what, mark in (
        (certificate, "certificate", "-----BEGIN CERTIFICATE-----"),
        (key, "private key", "PRIVATE KEY-----"),
    ):
        if mark not in _read(file):
            raise ConfigurationError(f"{file} holds no {what} in PEM form", subject=str(file))

    def refuse() -> str:
        raise ConfigurationError(
            f"the key in {key} is encrypted, and a server starts where nobody can type its password; "
            f"decrypt it: openssl pkey -in {key} -out plain.key",
            subject=str(key),
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            what = f"the key in {key} is not that of the certificate in {certificate}"
        else:
            what = f"{certificate} and {key} are no certificate with its key: {error.reason or error}"
        raise ConfigurationError(what, subject=str(key)) from None
    return context


def development_certificate(
    directory: Path, names: Iterable[str] = (), *, clock: Callable[[], float] = time.time
) -> tuple[Path, Path]:
    """A self-signed certificate and its key, made in `directory`; the two files.

    It is for localhost, 127.0.0.1, ::1 and `names` (host names or addresses), valid for 365 days; a client trusts
    it by being given the file. The one that is there is kept while it has these names and 30 more days. Nobody but
    the owner can read the key. Raises ConfigurationError for a name that is none, and where `cryptography` is not
    installed; DiskFullError.
    """
    wanted = [*dict.fromkeys((*_LOCAL_NAMES, *names))]
    certificate, key = directory / CERTIFICATE_FILE, directory / KEY_FILE
    if not _is_good(certificate, key, wanted, clock()):
        signed, private = _signed(wanted, clock())
        try:
            directory.mkdir(parents=True, exist_ok=True)
            _replace(key, private)  # a crash here leaves a pair that does not match, and is made anew
            _replace(certificate, signed)
        except OSError as error:
            if is_full(error):
                raise DiskFullError(f"no space left in {directory}", subject=str(directory)) from None
            raise ConfigurationError(
                f"cannot write a certificate to {directory}: {error.strerror}", subject=str(directory)
            ) from None
    return certificate, key


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("latin-1")
    except OSError as error:
        raise ConfigurationError(f"cannot read {file}: {error.strerror}", subject=str(file)) from None


def _replace(path: Path, content: bytes) -> None:
    """Put a file in place whole, readable by its owner alone from its first byte on."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_good(certificate: Path, key: Path, names: list[str], now: float) -> bool:
    """Whether the two files belong together, are for these names, and stay valid long enough."""
    x509 = _cryptography()
    try:
        server_context(certificate, key)
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ConfigurationError, ValueError, x509.ExtensionNotFound):
        return False
    until = dt.datetime.fromtimestamp(now, dt.UTC) + dt.timedelta(days=_RENEW_DAYS)
    return found.not_valid_after_utc >= until and all(_general_name(name) in present for name in names)


def _signed(names: list[str], now: float) -> tuple[bytes, bytes]:
    """A new certificate and its key, both PEM."""
    x509 = _cryptography()
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "qstore-db development")])
    start = dt.datetime.fromtimestamp(now, dt.UTC)
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - dt.timedelta(hours=1))  # the client's clock may be behind
        .not_valid_after(start + dt.timedelta(days=_DAYS))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return certificate.public_bytes(encoding), key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _general_name(name: str) -> Any:
    """A host name or address as certificates have it."""
    x509 = _cryptography()
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        host = name.encode("idna").decode()
    except UnicodeError:
        host = ""
    if not _HOST.fullmatch(host):
        raise ConfigurationError(f"{name!r} is neither a host name nor an address", subject="names")
    return x509.DNSName(host)


def _cryptography() -> Any:
    """`cryptography.x509`, which is heavy, and comes with an extra."""
    try:
        from cryptography import x509
    except ImportError as error:
        raise ConfigurationError(
            'a development certificate needs cryptography: pip install "qstore-db[server]"',
            subject="cryptography",
        ) from error
    return x509
