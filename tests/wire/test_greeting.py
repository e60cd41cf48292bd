"""Greetings come out as they went in; what is none is refused by its field, and tokens stay hidden."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qstore_db.errors import ProtocolError
from qstore_db.testing.messages import read
from qstore_db.wire.greeting import VERSION, WINDOW, Hello, Welcome
from qstore_db.wire.limits import MAX_WINDOW, UNAUTHENTICATED, Limits
from qstore_db.wire.messages import Kind, Message, encode

numbers, texts = st.integers(0, 2**63 - 1), st.text(max_size=50)
windows = st.integers(0, MAX_WINDOW)
hellos = st.builds(Hello, version=numbers, token=st.none() | texts, agent=texts, window=windows)
welcomes = st.builds(
    Welcome,
    version=numbers,
    agent=texts,
    head=numbers,
    attachments=numbers,
    requests=numbers,
    window=windows,
    streamed=numbers,
    uploads=numbers,
    role=texts,
)
WELCOME = Welcome(head=1, attachments=2, requests=3, window=4, streamed=5, uploads=6, role="read")


def over_the_wire(greeting: Hello | Welcome, limits: Limits) -> Any:
    [message], error = read(map(bytes, encode(Message(Kind.HELLO, 0, "", greeting.body()))), limits)
    assert error is None
    return message.body


@given(hellos)
def test_a_hello_comes_out_as_it_went_in_and_fits_what_a_stranger_may_send(hello: Hello) -> None:
    assert Hello.of(over_the_wire(hello, UNAUTHENTICATED)) == hello


@given(welcomes)
def test_a_welcome_comes_out_as_it_went_in(welcome: Welcome) -> None:
    assert Welcome.of(over_the_wire(welcome, Limits())) == welcome


@given(st.text(min_size=1))
def test_a_hello_shows_its_token_to_nobody_who_prints_it(secret: str) -> None:
    shown = repr(Hello(token=f"qst_{secret}"))
    assert "qst_" not in shown
    assert shown == f"Hello(version={VERSION}, agent='', window={WINDOW})"


def test_what_a_client_leaves_out_is_as_the_page_says() -> None:
    assert Hello.of({}) == Hello(version=VERSION, token=None, agent="", window=WINDOW)


@pytest.mark.parametrize("kind", [Hello, Welcome])
def test_what_a_later_release_says_besides_is_passed_over(kind: Any) -> None:
    body = WELCOME.body() if kind is Welcome else {}
    assert kind.of({**body, "languages": ["de"], "streams": None}) == kind.of(body)


@pytest.mark.parametrize("field", ["head", "attachments", "requests", "window", "streamed", "role"])
def test_a_welcome_without_one_of_its_fields_is_refused_by_its_name(field: str) -> None:
    body = WELCOME.body()
    del body[field]
    with pytest.raises(ProtocolError, match=field):
        Welcome.of(body)


@pytest.mark.parametrize("field", ["version", "window", "head", "attachments", "requests", "streamed"])
@pytest.mark.parametrize("value", [-1, True, 1.0, None, "1", b"1", [1], {}])
def test_a_number_that_is_none_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(ProtocolError, match=f"{field} of a HELLO"):
        Welcome.of({**WELCOME.body(), field: value})
    if field in Hello.__dataclass_fields__:
        with pytest.raises(ProtocolError, match=f"{field} of a HELLO"):
            Hello.of({field: value})


@pytest.mark.parametrize(("field", "value"), [("token", b"qst"), ("token", 7), ("agent", None), ("agent", 1)])
def test_a_text_that_is_none_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(ProtocolError, match=f"{field} of a HELLO") as caught:
        Hello.of({field: value})
    assert "qst" not in caught.value.message


@pytest.mark.parametrize("kind", [Hello, Welcome])
def test_a_window_that_no_grant_could_add_to_is_refused(kind: Any) -> None:
    with pytest.raises(ProtocolError, match="window of a HELLO must be at most"):
        kind.of({**WELCOME.body(), "window": MAX_WINDOW + 1})


@pytest.mark.parametrize("body", [None, 1, "hello", [], ["version", 1], b""])
def test_a_body_that_is_no_map_is_refused(body: Any) -> None:
    for kind in (Hello, Welcome):
        with pytest.raises(ProtocolError, match="must be a map"):
            kind.of(body)
