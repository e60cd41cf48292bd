"""Who may do what: tokens with roles, kept in the catalog as digests."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qstore_db.catalog.base import ABSENT, Catalog, Entry
from qstore_db.database.arguments import check_name
from qstore_db.errors import ArgumentError, AuthenticationError, ForbiddenError

_PREFIX = "token/"
_TEXT = re.compile(r"qst_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_LIKE_A_TOKEN = re.compile(r"qst_[A-Za-z0-9-]*_[A-Za-z0-9_-]+")
_NOBODY = "0" * 12
"""The id that is looked up where a text has none, for the same work."""


def hide_tokens(text: str) -> str:
    """`text` without anything in it that looks like a token."""
    return _LIKE_A_TOKEN.sub("qst_***", text)


class Role(StrEnum):
    """What a token is for. Each role may do what those before it may."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Whether this role may do what takes the role `needed`."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; not the token itself, which nobody can tell any more."""

    id: str
    """12 hexadecimal digits, part of the text, no secret."""
    name: str
    """What its maker called it. Several tokens may have the same name."""
    role: Role
    collections: tuple[str, ...] | None
    """Those it is limited to. None: all, also those made later."""
    created_at: float
    """Seconds since the epoch."""

    def require(self, needed: Role, collection: str | None = None) -> None:
        """Raises ForbiddenError unless the token may do what takes the role `needed`, in `collection` if given."""
        if not self.role.allows(needed):
            raise ForbiddenError(
                f"token {self.name!r} has the role {self.role}; this takes a token of the role {needed}",
                subject=needed,
            )
        if collection is not None and self.collections is not None and collection not in self.collections:
            raise ForbiddenError(
                f"token {self.name!r} is limited to other collections than {collection!r}; use another token",
                subject=collection,
            )


LOCAL: Final = Token("local", "local", Role.ADMIN, None, 0.0)
"""Who a client is that needs no token: everything is allowed."""


class Tokens:
    """The tokens of one database, under `token/<id>` in its catalog. Safe to use from many threads.

    A token is the text `qst_<id>_<secret>`. It exists in full only where `create` returns it: the catalog holds
    its SHA-256. The secret is 256 random bits, which nobody can try out, so that a slow hash, as passwords need,
    would make nothing safer and each connection slower.
    """

    def __init__(self, catalog: Catalog, clock: Callable[[], float] = time.time) -> None:
        self._catalog = catalog
        self._clock = clock

    def create(
        self, name: str, role: Role | str, collections: Iterable[str] | None = None
    ) -> tuple[Token, str]:
        """A new token, and its text: the only time that it is shown. It is valid at once.

        Raises ArgumentError for a name that is no name, an unknown role, and a limit to collections that is empty
        or of an admin, who could make a token without it.
        """
        token = Token(secrets.token_hex(6), _name(name), _role(role), _limits(collections), self._clock())
        if token.role is Role.ADMIN and token.collections is not None:
            raise ArgumentError(
                "a token of the role admin is for all collections; leave collections out, or give another role",
                subject="collections",
            )
        text = f"qst_{token.id}_{secrets.token_urlsafe(32)}"
        value = {
            "name": token.name,
            "role": str(token.role),
            "collections": None if token.collections is None else list(token.collections),
            "created_at": token.created_at,
            "sha256": _digest(text),
        }
        self._catalog.put(_PREFIX + token.id, value, if_version=ABSENT)
        return token, text

    def all(self) -> tuple[Token, ...]:
        """Every token, oldest first."""
        found = [_token(entry) for entry in self._catalog.scan(_PREFIX)]
        return tuple(sorted(found, key=lambda token: (token.created_at, token.id)))

    def revoke(self, id_or_name: str) -> Token:
        """Make a token invalid, at once and for good; what it was. Its text names it too.

        Raises ArgumentError where there is none, or several of that name.
        """
        if not isinstance(id_or_name, str):
            raise ArgumentError(f"token={id_or_name!r} must be an id or a name", subject="token")
        whole = _TEXT.fullmatch(id_or_name)
        wanted = whole[1] if whole else id_or_name
        found = [token for token in self.all() if wanted in (token.id, token.name)]
        if len(found) == 1 and self._catalog.delete(_PREFIX + found[0].id):
            return found[0]
        shown = hide_tokens(wanted)
        if len(found) > 1:
            ids = ", ".join(token.id for token in found)
            raise ArgumentError(
                f"{len(found)} tokens are named {shown!r}; name one by its id: {ids}", subject="token"
            )
        raise ArgumentError(f"there is no token of the id or name {shown!r}", subject="token")

    def authenticate(self, text: object) -> Token:
        """The token of that text.

        Raises AuthenticationError otherwise: the same one, after the same work, whether the text has an unknown
        id, a wrong secret, or is nothing like a token.
        """
        given = text if isinstance(text, str) else ""
        shape = _TEXT.fullmatch(given)
        entry = self._catalog.get(_PREFIX + (shape[1] if shape else _NOBODY))
        expected = entry.value["sha256"] if entry else bytes(hashlib.sha256().digest_size)
        if not hmac.compare_digest(_digest(given), expected) or entry is None:
            raise AuthenticationError(
                "the server knows no such token; it is mistyped, was revoked, or belongs to another server: "
                "`qstore token create` makes a new one",
                subject="token",
            )
        return _token(entry)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _token(entry: Entry) -> Token:
    value = entry.value
    limits = None if value["collections"] is None else tuple(value["collections"])
    return Token(
        entry.key.removeprefix(_PREFIX), value["name"], Role(value["role"]), limits, value["created_at"]
    )


def _name(name: object) -> str:
    """A name that can be told from an id, and shows no secret."""
    if isinstance(name, str) and (hide_tokens(name) != name or re.fullmatch(r"[0-9a-f]{12}|local", name)):
        raise ArgumentError(
            "the name of a token must not look like a token, its id, or 'local'", subject="name"
        )
    return check_name(name, "token")


def _role(role: Role | str) -> Role:
    try:
        return Role(role)
    except ValueError:
        known = ", ".join(map(repr, map(str, Role)))
        raise ArgumentError(f"role={role!r} is unknown; use one of {known}", subject="role") from None


def _limits(collections: Iterable[str] | None) -> tuple[str, ...] | None:
    if collections is None:
        return None
    if isinstance(collections, str) or not isinstance(collections, Iterable):
        raise ArgumentError(
            f"collections={collections!r} must be several names, in a list", subject="collections"
        )
    limits = tuple(dict.fromkeys(check_name(name) for name in collections))
    if not limits:
        raise ArgumentError(
            "collections=() allows nothing; leave it out for all of them", subject="collections"
        )
    return limits
