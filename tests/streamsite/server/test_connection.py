"""The way of the bytes through one connection: cut anywhere, in order, each request once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streamsite.server.served import LOOPS, Served

_CHUNKED = (
    b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
    b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n"
)
_PLAIN_END = (
    b"POST /size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"GET /two HTTP/1.1\r\nHost: a\r\n\r\n"
)
_LENGTH = b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /two HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module", params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """One server for each loop."""
    with Served(request.param) as running:
        yield running


@pytest.mark.parametrize("sent", [_CHUNKED, _PLAIN_END, _LENGTH], ids=["trailers", "chunked", "length"])
def test_two_requests_are_two_wherever_they_are_cut(served: Served, sent: bytes) -> None:
    """A body ends where it says, and the request behind it is neither swallowed nor cut."""
    for at in range(1, len(sent)):
        with served.wire() as wire:
            wire.send(sent[:at])
            served.get("/turn")  # the loop has had its turn with the first part
            wire.send(sent[at:])
            assert (wire.answer("POST").body, wire.answer().body) == (b"3", b"/two"), f"cut at {at}"


def test_request_that_repeats_itself_is_answered_each_time(served: Served) -> None:
    """It is not parsed again, with a body or without; what differs in one byte is."""
    post = b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n"
    with served.wire() as wire:
        for body in (b"abc", b"def", b"ghi"):
            wire.send(post + body)
            assert wire.answer("POST").body == b"3"
        for path in (b"/a", b"/a", b"/b", b"/a"):
            wire.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.answer().body == path
        wire.send(post + b"ab")
        served.get("/turn")
        wire.send(b"c" + post + b"xyz")
        assert (wire.answer("POST").body, wire.answer("POST").body) == (b"3", b"3")


@pytest.mark.parametrize(
    "sent", [b"HEAD /fail HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"]
)
def test_refusal_of_head_has_no_body(served: Served, sent: bytes) -> None:
    """RFC 9110, 9.3.2: a client would take it for the next answer."""
    with served.wire() as wire:
        wire.send(sent)
        head, _, body = wire.rest().partition(b"\r\n\r\n")
        assert head.startswith((b"HTTP/1.1 500", b"HTTP/1.1 400"))
        assert body == b""


def test_proxy_connection_closes_as_connection_does(served: Served) -> None:
    """Llhttp takes it for one; the answer has to say the same."""
    with served.wire() as wire:
        wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n")
        assert wire.answer().headers["Connection"] == "close"
        assert wire.rest() == b""


@pytest.mark.parametrize("field", [b"Upgrade : h2c", b"Upgrade: h2c\0", b"Upgrade\t: x"])
def test_malformed_upgrade_field_is_refused_as_any_other(served: Served, field: bytes) -> None:
    """It is kept from llhttp only where it is a field."""
    with served.wire() as wire:
        wire.send(b"GET /a HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n")
        assert wire.answer().status == 400


def test_upgrade_that_nobody_knows_is_an_ordinary_request(served: Served) -> None:
    """Java's HttpClient offers h2c with each first request, body and all."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n"
    with served.wire() as wire:
        wire.send(b"POST /size HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + offer + b"\r\nabc")
        assert wire.answer("POST").body == b"3"
