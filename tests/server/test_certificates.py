"""TLS contexts that refuse by file name, and the certificate that a server makes for development."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from qstore_db.errors import ConfigurationError, DiskFullError
from qstore_server import certificates
from qstore_server.certificates import development_certificate, server_context

DAY = 86_400.0
# X.509 checks to the letter, as newer Pythons make them by default.
STRICT = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return development_certificate(tmp_path / "tls")


def shaken_hands(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str | None:
    """The version of TLS that the two agree on, over memory alone."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=host),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(10):
        for end in list(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            ends.remove(end)
            if not ends:
                return end.version()
    raise AssertionError("no end of the handshake")


def trusting(certificate: Path) -> ssl.SSLContext:
    client = ssl.create_default_context(cafile=str(certificate))
    client.verify_flags |= STRICT
    return client


# The context


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_a_client_given_the_certificate_trusts_this_machine(pair: tuple[Path, Path], host: str) -> None:
    assert shaken_hands(server_context(*pair), trusting(pair[0]), host) == "TLSv1.3"


def test_a_client_refuses_another_name_and_one_without_the_certificate_all(pair: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="match"):
        shaken_hands(server_context(*pair), trusting(pair[0]), "db.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        shaken_hands(server_context(*pair), ssl.create_default_context(), "localhost")


def test_tls_older_than_1_2_is_refused(pair: tuple[Path, Path]) -> None:
    assert server_context(*pair).minimum_version is ssl.TLSVersion.TLSv1_2
    client = trusting(pair[0])
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shaken_hands(server_context(*pair), client, "localhost") == "TLSv1.2"


def test_a_missing_or_unreadable_file_is_refused_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pair
    for one, other, wrong in (
        (tmp_path / "none", key, tmp_path / "none"),
        (certificate, tmp_path / "none", tmp_path / "none"),
        (certificate, tmp_path, tmp_path),
    ):
        with pytest.raises(ConfigurationError, match="cannot read") as caught:
            server_context(one, other)
        assert caught.value.subject == str(wrong)


def test_a_file_of_another_kind_is_refused_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = pair
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)))
    for one, other, wrong, what in (
        (key, key, key, "no certificate"),
        (certificate, certificate, certificate, "no private key"),
        (noise, key, noise, "no certificate"),
        (certificate, noise, noise, "no private key"),
    ):
        with pytest.raises(ConfigurationError, match=what) as caught:
            server_context(one, other)
        assert caught.value.subject == str(wrong)


def test_a_damaged_file_is_refused_by_name(pair: tuple[Path, Path]) -> None:
    for file in pair:
        text = file.read_text()
        file.write_text(text.replace("\n", "\nAAAA", 2))
        with pytest.raises(ConfigurationError, match="no certificate with its key") as caught:
            server_context(*pair)
        assert str(file) in str(caught.value)
        file.write_text(text)


def test_a_key_of_another_certificate_is_refused_by_name(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = development_certificate(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="is not that of the certificate") as caught:
        server_context(pair[0], other)
    assert caught.value.subject == str(other)


def test_an_encrypted_key_is_refused_by_name_and_nobody_is_asked_for_its_password(
    pair: tuple[Path, Path],
) -> None:
    certificate, key = pair
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
        encrypted = private.private_bytes(
            serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"password")
        )
        key.write_bytes(encrypted)
        with pytest.raises(ConfigurationError, match="is encrypted") as caught:
            server_context(certificate, key)
        assert caught.value.subject == str(key)


# The development certificate


def test_it_is_an_elliptic_curve_certificate_of_a_year_for_this_machine_and_the_names(tmp_path: Path) -> None:
    now = time.time()
    names = ["db.example.com", "10.0.0.7", "*.example.org", "bücher.example", "localhost"]
    certificate, _ = development_certificate(tmp_path, names, clock=lambda: now)
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    public = found.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"
    present = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert present.get_values_for_type(x509.DNSName) == [
        "localhost",
        "db.example.com",
        "*.example.org",
        "xn--bcher-kva.example",
    ]
    assert present.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address(each) for each in ("127.0.0.1", "::1", "10.0.0.7")
    ]
    until = dt.datetime.fromtimestamp(int(now), dt.UTC) + dt.timedelta(days=365)
    assert found.not_valid_after_utc == until


def test_only_the_owner_can_read_the_key_and_no_other_file_is_left(tmp_path: Path) -> None:
    certificate, key = development_certificate(tmp_path)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert sorted(tmp_path.iterdir()) == sorted([certificate, key])


def test_it_is_kept_while_it_is_valid_for_thirty_more_days(tmp_path: Path) -> None:
    now = time.time()
    contents = []
    for days in (0, 334, 336, 336 + 334):
        pair = development_certificate(tmp_path, clock=lambda days=days: now + days * DAY)  # type: ignore[misc]
        contents.append([file.read_bytes() for file in pair])
    assert contents[0] == contents[1]
    assert contents[1][0] != contents[2][0]
    assert contents[1][1] != contents[2][1]
    assert contents[2] == contents[3]


def test_it_is_made_anew_for_a_name_that_it_lacks(tmp_path: Path) -> None:
    certificate, _ = development_certificate(tmp_path, ["a.example"])
    first = certificate.read_bytes()
    development_certificate(tmp_path)
    development_certificate(tmp_path, ["127.0.0.1", "a.example"])
    assert certificate.read_bytes() == first
    pair = development_certificate(tmp_path, ["b.example"])
    assert certificate.read_bytes() != first
    shaken_hands(server_context(*pair), trusting(certificate), "b.example")


@pytest.mark.parametrize("damaged", [0, 1])
@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----"])
def test_a_pair_that_is_damaged_or_does_not_match_is_made_anew(
    tmp_path: Path, damaged: int, content: bytes | None
) -> None:
    pair = development_certificate(tmp_path)
    other = development_certificate(tmp_path / "other")
    pair[damaged].write_bytes(other[damaged].read_bytes() if content is None else content)
    assert development_certificate(tmp_path) == pair
    shaken_hands(server_context(*pair), trusting(pair[0]), "localhost")


@pytest.mark.parametrize("name", ["", "a b", "x" * 70, "a..b", "http://a", "1.2.3.4/8", "a,b"])
def test_a_name_that_is_none_is_refused_and_nothing_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a host name nor an address") as caught:
        development_certificate(tmp_path, [name])
    assert caught.value.subject == "names"
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_to_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot write") as caught:
        development_certificate(tmp_path / "file")
    assert caught.value.subject == str(tmp_path / "file")


def test_a_full_disk_leaves_what_was_there(small_disk: Path) -> None:
    pair = development_certificate(small_disk)
    before = [file.read_bytes() for file in pair]
    with pytest.raises(OSError, match="space"):
        (small_disk / "filler").write_bytes(bytes(16 << 20))
    with pytest.raises(DiskFullError) as caught:
        development_certificate(small_disk, ["a.example"])
    assert caught.value.subject == str(small_disk)
    assert [file.read_bytes() for file in pair] == before
    assert {file.name for file in small_disk.iterdir()} == {
        "ballast",
        "filler",
        *(file.name for file in pair),
    }


def test_without_cryptography_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigurationError, match=r'pip install "qstore-db\[server\]"'):
        development_certificate(tmp_path)


def test_importing_the_module_loads_no_cryptography() -> None:
    program = f"import sys, {certificates.__name__}; print('cryptography' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
