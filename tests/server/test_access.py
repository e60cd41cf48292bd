"""Tokens: who gets in, what each role may do, and that nothing ever shows a secret."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qstore_db.catalog.environment import Environment
from qstore_db.catalog.lmdb import LmdbCatalog
from qstore_db.errors import ArgumentError, AuthenticationError, ForbiddenError, QStoreError
from qstore_server.access import LOCAL, Role, Token, Tokens, hide_tokens

NOW = 1_800_000_000.0


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[LmdbCatalog]:
    environment = Environment(tmp_path / "db")
    yield LmdbCatalog(environment)
    environment.close()


@pytest.fixture
def tokens(catalog: LmdbCatalog) -> Tokens:
    return Tokens(catalog, lambda: NOW)


# Roles


@pytest.mark.parametrize(
    ("role", "needed", "allowed"),
    [
        ("read", "read", True),
        ("read", "write", False),
        ("read", "admin", False),
        ("write", "read", True),
        ("write", "write", True),
        ("write", "admin", False),
        ("admin", "read", True),
        ("admin", "write", True),
        ("admin", "admin", True),
    ],
)
def test_a_role_may_do_what_the_lesser_ones_may(role: str, needed: str, allowed: bool) -> None:
    assert Role(role).allows(Role(needed)) is allowed
    token = Token("0" * 12, "ci", Role(role), None, NOW)
    if allowed:
        token.require(Role(needed))
    else:
        with pytest.raises(ForbiddenError, match=f"'ci' has the role {role}; .* role {needed}") as caught:
            token.require(Role(needed))
        assert caught.value.subject == needed


def test_a_limited_token_is_refused_in_other_collections() -> None:
    token = Token("0" * 12, "ci", Role.WRITE, ("a", "b"), NOW)
    token.require(Role.READ, "a")
    token.require(Role.WRITE, "b")
    token.require(Role.READ)
    with pytest.raises(ForbiddenError, match="'c'") as caught:
        token.require(Role.READ, "c")
    assert caught.value.subject == "c"


def test_a_token_without_limit_and_a_local_client_may_use_every_collection() -> None:
    Token("0" * 12, "ci", Role.READ, None, NOW).require(Role.READ, "any")
    LOCAL.require(Role.ADMIN, "any")


# Life of a token


def test_a_created_token_authenticates_as_itself(tokens: Tokens) -> None:
    token, text = tokens.create("ci", "write", ["a", "b", "a"])
    assert text.startswith(f"qst_{token.id}_")
    assert len(text.split("_", 2)[2]) == 43
    assert token == Token(token.id, "ci", Role.WRITE, ("a", "b"), NOW)
    assert tokens.authenticate(text) == token
    assert tokens.all() == (token,)


def test_tokens_are_found_by_whoever_opens_the_database_later(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "db")
    token, text = Tokens(LmdbCatalog(environment)).create("ci", Role.READ)
    environment.close()
    environment = Environment(tmp_path / "db")
    assert Tokens(LmdbCatalog(environment)).authenticate(text) == token
    environment.close()


def test_tokens_are_listed_oldest_first(catalog: LmdbCatalog) -> None:
    times = iter([3.0, 1.0, 2.0])
    tokens = Tokens(catalog, lambda: next(times))
    made = [tokens.create(f"t{i}", "read")[0] for i in range(3)]
    assert tokens.all() == (made[1], made[2], made[0])


@pytest.mark.parametrize("by", ["id", "name", "text"])
def test_a_revoked_token_is_refused_and_others_stay(tokens: Tokens, by: str) -> None:
    token, text = tokens.create("ci", "read")
    other, other_text = tokens.create("other", "admin")
    assert tokens.revoke({"id": token.id, "name": "ci", "text": text}[by]) == token
    with pytest.raises(AuthenticationError):
        tokens.authenticate(text)
    assert tokens.authenticate(other_text) == other
    with pytest.raises(ArgumentError, match="no token") as caught:
        tokens.revoke(token.id)
    assert caught.value.subject == "token"


def test_an_ambiguous_name_revokes_nothing_and_says_the_ids(tokens: Tokens) -> None:
    made = [tokens.create("ci", "read")[0] for _ in range(2)]
    with pytest.raises(ArgumentError, match="2 tokens are named 'ci'") as caught:
        tokens.revoke("ci")
    assert all(token.id in str(caught.value) for token in made)
    assert set(tokens.all()) == set(made)
    tokens.revoke(made[0].id)
    assert tokens.revoke("ci") == made[1]


@pytest.mark.parametrize(
    ("arguments", "subject"),
    [
        (("", "read"), "token"),
        (("a/b", "read"), "token"),
        (("a\nb", "read"), "token"),
        ((7, "read"), "token"),
        (("0123456789ab", "read"), "name"),
        (("local", "read"), "name"),
        (("qst_0123456789ab_x", "read"), "name"),
        (("ci", "owner"), "role"),
        (("ci", "READ"), "role"),
        (("ci", None), "role"),
        (("ci", "read", []), "collections"),
        (("ci", "read", "default"), "collections"),
        (("ci", "read", ["a/b"]), "collection"),
        (("ci", "admin", ["a"]), "collections"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_and_not_stored(
    tokens: Tokens, arguments: tuple[Any, ...], subject: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        tokens.create(*arguments)
    assert caught.value.subject == subject
    assert tokens.all() == ()


# Secrets


def refused(tokens: Tokens, text: object) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as caught:
        tokens.authenticate(text)
    return caught.value


ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """The text with one place replaced, removed or filled, or in other letters."""
    at = draw(st.integers(0, len(text) - 1))
    new = draw(st.sampled_from(ALPHABET) | st.characters())
    ways = [
        text[:at] + new + text[at + 1 :],
        text[:at] + new + text[at:],
        text[:at] + text[at + 1 :],
        text[at:],
        text[:at],
        text.swapcase(),
        f" {text}",
        f"{text}\n",
        text + text,
    ]
    return draw(st.sampled_from(ways))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_text_but_the_created_one_authenticates(tokens: Tokens, data: st.DataObject) -> None:
    token, text = tokens.create("ci", "read")
    _, other = tokens.create("ci", "admin")
    mixed = f"qst_{token.id}_{other.split('_', 2)[2]}"
    shaped = st.from_regex(r"qst_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True)
    attempt = data.draw(changed(text) | st.just(mixed) | shaped | st.text() | st.from_type(object))
    if attempt == text:
        return
    if attempt != other:
        refused(tokens, attempt)
    assert tokens.authenticate(text) == token


def test_every_refusal_is_the_same_whatever_is_wrong(tokens: Tokens) -> None:
    token, text = tokens.create("ci", "read")
    wrong: list[Any] = [
        text[:-1] + ("A" if text[-1] != "A" else "B"),
        f"qst_{'0' * 12}_{'A' * 43}",
        f"qst_{token.id}_",
        "",
        "\ud800",
        "x" * 5_000_000,
        None,
        7,
        text.encode(),
        [text],
    ]
    errors = [refused(tokens, attempt) for attempt in wrong]
    assert {(type(error), str(error), error.subject, error.code) for error in errors} == {
        (AuthenticationError, str(errors[0]), "token", "authentication")
    }


def test_every_refusal_takes_one_look_into_the_catalog_and_one_comparison(
    tokens: Tokens, catalog: LmdbCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hmac

    token, text = tokens.create("ci", "read")
    calls: list[str] = []
    get, compare = catalog.get, hmac.compare_digest
    monkeypatch.setattr(catalog, "get", lambda key: calls.append("get") or get(key))
    monkeypatch.setattr(
        hmac, "compare_digest", lambda a, b: calls.append(f"{len(a)} {len(b)}") or compare(a, b)
    )
    for attempt in (text[:-1], text.swapcase(), f"qst_{'1' * 12}_{'A' * 43}", "", None, text):
        calls.clear()
        if attempt == text:
            assert tokens.authenticate(attempt) == token
        else:
            refused(tokens, attempt)
        assert calls == ["get", "32 32"]


def test_the_secret_is_shown_once_and_kept_nowhere(
    tokens: Tokens, catalog: LmdbCatalog, tmp_path: Path
) -> None:
    token, text = tokens.create("ci", "read")
    secret = text.split("_", 2)[2]
    shown: list[str] = [repr(token), str(token), repr(tokens), repr(tokens.all()), repr(pickle.dumps(token))]
    shown += [repr(list(catalog.scan("")))]
    attempts = [text[:-1], f"{text} ", text.encode(), f"qst_{'0' * 12}_{secret}", secret]
    errors: list[QStoreError] = [refused(tokens, attempt) for attempt in attempts]
    for argument in (f"{text}x", f"{text} ", f"qst__{secret}", text):
        with pytest.raises(ArgumentError) as caught:
            tokens.create(argument, "read")
        errors.append(caught.value)
        if argument != text:
            with pytest.raises(ArgumentError) as caught:
                tokens.revoke(argument)
            errors.append(caught.value)
    for error in errors:
        shown += [repr(error), str(error), str(error.subject), repr(pickle.dumps(error))]
        shown += traceback.format_exception(error)
    assert tokens.authenticate(text) == token
    assert tokens.revoke(text) == token
    shown += [file.read_bytes().decode("latin-1") for file in tmp_path.rglob("*") if file.is_file()]
    assert len(shown) > 20
    assert not any(secret in each for each in shown)


def test_what_looks_like_a_token_is_hidden_in_any_text(tokens: Tokens) -> None:
    _, text = tokens.create("ci", "read")
    assert hide_tokens(f"a {text}, b={text}; c") == "a qst_***, b=qst_***; c"
    assert hide_tokens(repr(text.encode())) == "b'qst_***'"
    assert hide_tokens("qst_ and my_qst are no tokens") == "qst_ and my_qst are no tokens"
