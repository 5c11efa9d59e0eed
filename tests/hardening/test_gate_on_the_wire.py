"""What two servers could read in two ways, sent as it is: each input, its answer, and that nothing behind it ever ran.

Behind each input comes a second request on the same connection. Where the first one is refused the second must not run:
it is what a request smuggler wants (CWE-444). Each row is sent whole and in the smallest pieces.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.streamsite.server.served import LOOPS, Served, Wire

HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
EMPTY_CHUNK = b"0\r\n\r\n"
SMALL_BYTES = 4096
"""What is longer is sent in as many pieces, not byte by byte."""

_tokens = itertools.count()


@dataclass(frozen=True)
class Row:
    """One input.

    Args:
        what: it is.
        sent: the bytes.
        status: of the answer; 0 where the connection is closed, or gets an answer before that.
        slug: of the problem.
        body: of the answer, for what is accepted.
    """

    what: str
    sent: bytes
    status: int
    slug: str = ""
    body: bytes = b""

    def __str__(self) -> str:
        return self.what


def head(*lines: bytes, request: bytes = b"GET / HTTP/1.1", host: bytes = HOST) -> bytes:
    """A head with these fields."""
    return request + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def post(*lines: bytes, body: bytes = b"", path: bytes = b"/size") -> bytes:
    """A POST with these fields and this body, whatever the fields say."""
    return head(*lines, request=b"POST " + path + b" HTTP/1.1") + body


def bad(what: str, sent: bytes, status: int = 400, slug: str = "bad-request") -> Row:
    """Refused by a problem document, and the connection closed."""
    return Row(what, sent, status, slug)


LENGTH = (
    bad("both lengths", post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=EMPTY_CHUNK)),
    bad("both lengths, chunked first", post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=EMPTY_CHUNK)),
    bad("chunked twice", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=EMPTY_CHUNK)),
    bad("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked", body=EMPTY_CHUNK)),
    bad("chunked and identity", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=EMPTY_CHUNK)),
    bad("identity and chunked", post(b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked", body=EMPTY_CHUNK)),
    bad("identity", post(b"Transfer-Encoding: identity")),
    bad("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=EMPTY_CHUNK)),
    bad("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=EMPTY_CHUNK)),
    bad("an unknown coding", post(b"Transfer-Encoding: xchunked", body=EMPTY_CHUNK)),
    bad("a quoted coding", post(b'Transfer-Encoding: "chunked"', body=EMPTY_CHUNK)),
    bad("no coding", post(b"Transfer-Encoding:", body=EMPTY_CHUNK)),
    bad("a coding after a control character", post(b"Transfer-Encoding: \x0bchunked", body=EMPTY_CHUNK)),
    bad("a coding before a space and a colon", post(b"Transfer-Encoding : chunked", body=EMPTY_CHUNK)),
    bad("a coding on a folded line", post(b"Transfer-Encoding:\r\n chunked", body=EMPTY_CHUNK)),
    bad(
        "chunked in HTTP/1.0",
        head(b"Transfer-Encoding: chunked", request=b"POST /size HTTP/1.0") + EMPTY_CHUNK,
    ),
    bad("two lengths", post(b"Content-Length: 0", b"Content-Length: 5")),
    bad("the same length twice", post(b"Content-Length: 0", b"Content-Length: 0")),
    bad("a list of lengths", post(b"Content-Length: 0, 0")),
    bad("a length with a sign", post(b"Content-Length: +2", body=b"ab")),
    bad("a negative length", post(b"Content-Length: -1")),
    bad("a hexadecimal length", post(b"Content-Length: 0x2", body=b"ab")),
    bad("an empty length", post(b"Content-Length:")),
    bad("a length of 23 digits", post(b"Content-Length: 11111111111111111111111")),
    bad("a length beyond 18 digits", post(b"Content-Length: 1000000000000000000")),
    bad("a length with a space in it", post(b"Content-Length: 1 1")),
    bad("a length in other digits", post("Content-Length: ٢".encode(), body=b"ab")),
    bad("a length before a space and a colon", post(b"Content-Length : 2", body=b"ab")),
)
CHUNKS = (
    bad("a negative chunk", post(CHUNKED[:-2], body=b"-1\r\na\r\n0\r\n\r\n")),
    bad("a chunk size with 0x", post(CHUNKED[:-2], body=b"0x1\r\na\r\n0\r\n\r\n")),
    bad("a chunk size of 17 digits", post(CHUNKED[:-2], body=b"11111111111111111\r\n")),
    bad("an empty chunk size", post(CHUNKED[:-2], body=b"\r\na\r\n0\r\n\r\n")),
    bad("a chunk longer than its size", post(CHUNKED[:-2], body=b"1\r\nab\r\n0\r\n\r\n")),
    bad("a chunk size that ends with LF", post(CHUNKED[:-2], body=b"1\na\r\n0\r\n\r\n")),
    bad("a chunk that ends with LF", post(CHUNKED[:-2], body=b"1\r\na\n0\r\n\r\n")),
    bad("a space before the chunk size", post(CHUNKED[:-2], body=b" 1\r\na\r\n0\r\n\r\n")),
    bad("a space after the chunk size", post(CHUNKED[:-2], body=b"1 \r\na\r\n0\r\n\r\n")),
    bad("an extension of 17 KB", post(CHUNKED[:-2], body=b"1;" + b"x" * 17_000 + b"\r\na\r\n0\r\n\r\n")),
    bad("extensions of 20 KB in all", post(CHUNKED[:-2], body=(b"1;" + b"x" * 500 + b"\r\na\r\n") * 40 + EMPTY_CHUNK)),
    bad("trailers of 20 KB", post(CHUNKED[:-2], body=b"0\r\n" + (b"X: " + b"x" * 500 + b"\r\n") * 40 + b"\r\n")),
    bad("a trailer without a colon", post(CHUNKED[:-2], body=b"0\r\nabc\r\n\r\n")),
)
TARGETS = (
    bad("no Host", head(host=b"")),
    bad("two Hosts", head(b"Host: localhost")),
    bad("two Hosts that differ", head(b"Host: evil.example")),
    bad("Host with a path", head(host=b"Host: localhost/a\r\n")),
    bad("Host with a user", head(host=b"Host: user@localhost\r\n")),
    bad("Host with a space", head(host=b"Host: local host\r\n")),
    bad("Host with two names", head(host=b"Host: localhost, evil.example\r\n")),
    bad("Host with a port that is none", head(host=b"Host: localhost:80a\r\n")),
    bad("Host with two ports", head(host=b"Host: localhost:80:81\r\n")),
    bad("Host with a backslash", head(host=b"Host: localhost\\evil\r\n")),
    bad("Host that is not ASCII", head(host="Host: lócalhost\r\n".encode())),
    bad("another host in the target", head(request=b"GET http://evil.example/ HTTP/1.1")),
    bad("a user in the target", head(request=b"GET http://user@localhost/ HTTP/1.1")),
    bad("another scheme in the target", head(request=b"GET ftp://localhost/ HTTP/1.1")),
    bad("a target without host", head(request=b"GET http:///a HTTP/1.1")),
    bad("a target without slash", head(request=b"GET a HTTP/1.1")),
    bad("a host and port as target", head(request=b"GET localhost:80 HTTP/1.1")),
    bad("* for GET", head(request=b"GET * HTTP/1.1")),
    bad("CONNECT", head(request=b"CONNECT localhost:80 HTTP/1.1")),
    bad("CONNECT to a path", head(request=b"CONNECT / HTTP/1.1")),
    bad("CONNECT with a body", head(b"Content-Length: 2", request=b"CONNECT localhost:80 HTTP/1.1") + b"ab"),
    bad("TRACE", head(request=b"TRACE / HTTP/1.1")),
    bad("an unknown method", head(request=b"BREW / HTTP/1.1")),
    bad("a method in small letters", head(request=b"get / HTTP/1.1")),
    bad("a method of another protocol", head(request=b"SETUP / RTSP/1.0")),
    bad("no method", head(request=b"/ HTTP/1.1")),
    bad("no target", head(request=b"GET HTTP/1.1")),
    bad("two spaces", head(request=b"GET  / HTTP/1.1")),
    bad("two spaces before the version", head(request=b"GET /  HTTP/1.1")),
    bad("a tab", head(request=b"GET\t/ HTTP/1.1")),
    bad("a space before the method", head(request=b" GET / HTTP/1.1")),
    bad("a space in the target", head(request=b"GET /a b HTTP/1.1")),
    bad("a space after the version", head(request=b"GET / HTTP/1.1 ")),
    bad("no version", head(request=b"GET /")),
    bad("HTTP/0.9", head(request=b"GET / HTTP/0.9"), 505),
    bad("HTTP/1.2", head(request=b"GET / HTTP/1.2")),
    bad("HTTP/2.0", head(request=b"GET / HTTP/2.0"), 505),
    bad("HTTP/9.9", head(request=b"GET / HTTP/9.9")),
    bad("HTTP/1.10", head(request=b"GET / HTTP/1.10")),
    bad("http/1.1", head(request=b"GET / http/1.1")),
    bad("a control character in the target", head(request=b"GET /a\x01 HTTP/1.1")),
    bad("DEL in the target", head(request=b"GET /a\x7f HTTP/1.1")),
    bad("NUL in the target", head(request=b"GET /a\x00 HTTP/1.1")),
    bad("raw UTF-8 in the target", head(request="GET /ä HTTP/1.1".encode())),
    bad("a fragment", head(request=b"GET /a#b HTTP/1.1")),
)
LINES = (
    bad("a folded line", head(b"X-A: a", b" b")),
    bad("a line folded with a tab", head(b"X-A: a", b"\tb")),
    bad("a folded first line", b"GET / HTTP/1.1\r\n X-A: a\r\n" + HOST + b"\r\n"),
    bad("LF at the end of the first line", b"GET / HTTP/1.1\n" + HOST + b"\r\n"),
    bad("LF at the end of a field", head(b"X-A: a\nX-B: b")),
    bad("LF everywhere", b"GET / HTTP/1.1\nHost: localhost\n\n"),
    bad("LF as the empty line", b"GET / HTTP/1.1\r\nHost: localhost\r\n\n"),
    bad("CR in a value", head(b"X-A: a\rb")),
    bad("CR at the end of a field", head(b"X-A: a\rX-B: b")),
    bad("CR at the end of the first line", b"GET / HTTP/1.1\r" + HOST + b"\r\n"),
    bad("CR CR LF", b"GET / HTTP/1.1\r\r\n" + HOST + b"\r\n"),
    bad("NUL in a value", head(b"X-A: a\x00b")),
    bad("NUL in a name", head(b"X-\x00A: a")),
    bad("a control character in a value", head(b"X-A: a\x01b")),
    bad("a space in a name", head(b"X A: a")),
    bad("a space before the colon", head(b"X-A : a")),
    bad("a name that is not ASCII", head("X-Ä: a".encode())),
    bad("no name", head(b": a")),
    bad("no colon", head(b"X-A")),
    bad("a name with a bracket", head(b"X(A): a")),
    bad("two empty lines before the request", b"\r\n\r\n" + head()),
    bad("a bare CR before the request", b"\r" + head()),
    bad("a bare LF before the request", b"\n" + head()),
    bad("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n"),
    bad("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    bad("SSH", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
    bad("nothing but NUL", b"\0" * 64 + b"\r\n\r\n"),
)
SIZES = (
    bad("an address of 9 KB", head(request=b"GET /" + b"a" * 9000 + b" HTTP/1.1"), 414, "uri-too-long"),
    bad("an address that never ends", b"GET /" + b"a" * 9000, 414, "uri-too-long"),
    bad("a query of 64 KB", head(request=b"GET /?" + b"a" * 65536 + b" HTTP/1.1"), 414, "uri-too-long"),
    bad("a field of 9 KB", head(b"X-A: " + b"a" * 9000), 431, "fields-too-large"),
    bad("a field that never ends", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 9000, 431, "fields-too-large"),
    bad("a name of 9 KB", head(b"X" * 9000 + b": a"), 431, "fields-too-large"),
    bad("101 fields", head(*[b"X-A: a"] * 100), 431, "fields-too-large"),
    bad("fields of 40 KB", head(*[b"X-A: " + b"a" * 1000] * 40), 431, "fields-too-large"),
    bad(
        "fields that never end",
        b"GET / HTTP/1.1\r\n" + HOST + (b"X-A: " + b"a" * 1000 + b"\r\n") * 40,
        431,
        "fields-too-large",
    ),
    bad("fields of 900 KB", head(*[b"X-A: " + b"a" * 8000] * 112), 431, "fields-too-large"),
)
EXPECTATIONS = (
    bad("an unknown expectation", post(b"Expect: 200-ok", b"Content-Length: 0"), 417, "expectation-failed"),
    bad(
        "two expectations", post(b"Expect: 100-continue", b"Expect: 1", b"Content-Length: 0"), 417, "expectation-failed"
    ),
)
REFUSED = (*LENGTH, *CHUNKS, *TARGETS, *LINES, *SIZES, *EXPECTATIONS)


def good(what: str, sent: bytes, body: bytes) -> Row:
    """Served, and the connection goes on with the second request."""
    return Row(what, sent, 200, body=body)


ACCEPTED = (
    good("a plain request", head(), b"/"),
    good("an empty line before the request", b"\r\n" + head(), b"/"),
    good("the site's own address as target", head(request=b"GET http://localhost/a HTTP/1.1"), b"/a"),
    good("the same without a path", head(request=b"GET http://localhost HTTP/1.1"), b"/"),
    good("an IPv6 host", head(host=b"Host: [::1]:8000\r\n"), b"/"),
    good("an empty Host", head(host=b"Host:\r\n"), b"/"),
    good("* for OPTIONS", head(request=b"OPTIONS * HTTP/1.1"), b"*"),
    good("a method that the site knows not", head(request=b"PROPFIND /a HTTP/1.1"), b"/a"),
    good("100 fields", head(*[b"X-A: a"] * 99), b"/"),
    good("fields of 30 KB", head(*[b"X-A: " + b"a" * 1000] * 30), b"/"),
    good("a value that is not ASCII", head("X-A: ä".encode()), b"/"),
    good("a length with leading zeros", post(b"Content-Length: 002", body=b"ab"), b"2"),
    good("a chunked body", post(CHUNKED[:-2], body=b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"), b"3"),
    good("chunk sizes with zeros and capitals", post(CHUNKED[:-2], body=b"000A\r\n0123456789\r\n0\r\n\r\n"), b"10"),
    good("a chunked body with line ends in it", post(CHUNKED[:-2], body=b"6\r\n\r\n\r\n\r\n\r\n0\r\n\r\n"), b"6"),
    good("CHUNKED", post(b"Transfer-Encoding: CHUNKED", body=b"2\r\nab\r\n0\r\n\r\n"), b"2"),
    good("a chunk extension", post(CHUNKED[:-2], body=b"2;a=b\r\nab\r\n0;c\r\n\r\n"), b"2"),
    good("an extension of 10 KB", post(CHUNKED[:-2], body=b"2;" + b"x" * 10_000 + b"\r\nab\r\n0\r\n\r\n"), b"2"),
    good("trailers", post(CHUNKED[:-2], body=b"2\r\nab\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n"), b"2"),
    good("a body of 1,000 chunks", post(CHUNKED[:-2], body=b"1\r\na\r\n" * 1000 + EMPTY_CHUNK), b"1000"),
    good(
        "an upgrade to h2c with a body",
        post(
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AA",
            b"Content-Length: 2",
            body=b"ab",
        ),
        b"2",
    ),
    good("an upgrade that nobody knows", head(b"Connection: upgrade", b"Upgrade: foo/2"), b"/"),
    good(
        "a WebSocket upgrade by POST", post(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 0"), b"0"
    ),
)


@pytest.fixture(scope="module", params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The probe on each loop, with time limits that no row meets."""
    with Served(request.param) as running:
        yield running


@pytest.fixture(params=["whole", "in pieces"])
def in_pieces(request: pytest.FixtureRequest) -> bool:
    """How a row is sent."""
    return bool(request.param == "in pieces")


def send(wire: Wire, data: bytes, *, in_pieces: bool) -> None:
    """Send it all, as far as the server takes it."""
    size = max(1, len(data) // SMALL_BYTES) if in_pieces else len(data)
    try:
        for start in range(0, len(data), size):
            wire.send(data[start : start + size])
    except ConnectionError:
        assert in_pieces or len(data) > 65536, "an answer is lost where the server resets"


def smuggled() -> tuple[str, bytes]:
    """A path of its own, and a request for it."""
    path = f"/smuggled-{next(_tokens)}"
    return path, head(request=b"GET " + path.encode() + b" HTTP/1.1")


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_bad_input_is_refused_and_nothing_behind_it_runs(served: Served, row: Row, in_pieces: bool) -> None:
    """A problem document with the request's id, the connection closed, the second request never run, the server well."""
    path, second = smuggled()
    with served.wire() as wire:
        send(wire, row.sent + second, in_pieces=in_pieces)
        answer = wire.answer()
        assert (answer.status, answer.slug) == (row.status, row.slug)
        assert answer.problem["status"] == row.status
        assert answer.problem["request_id"] == answer.headers["X-Request-ID"]
        assert answer.headers["Connection"] == "close"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Date"]
        assert wire.rest() == b""
    assert served.get("/well").status == 200
    assert path not in served.ran()


@pytest.mark.parametrize("row", ACCEPTED, ids=str)
def test_good_input_is_served_and_what_is_behind_it_too(served: Served, row: Row, in_pieces: bool) -> None:
    """The gate is strict and not deaf: what the RFC allows is served, and the second request is found where it begins."""
    path, second = smuggled()
    with served.wire() as wire:
        send(wire, row.sent + second, in_pieces=in_pieces)
        answer = wire.answer()
        assert (answer.status, answer.body) == (row.status, row.body)
        assert wire.answer().body == path.encode()


def test_websocket_upgrade_is_daphnes(served: Served) -> None:
    """The gate looks at its head too; what follows speaks another protocol."""
    with served.wire() as wire:
        wire.send(
            head(
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
                b"Transfer-Encoding: chunked",
                b"Content-Length: 3",
            )
        )
        assert wire.answer().status == 400


def test_names_decode_once_and_the_raw_path_is_given(served: Served) -> None:
    """`%2F`, `%00` and what is not UTF-8 reach the application as they came: it can tell two names apart."""
    for raw_path in ("/a%2Fb", "/a%252Fb", "/a%00b", "/%2e%2e/a", "/a/../b", "/a%ff", "/a%zz", "//a"):
        with served.wire() as wire:
            wire.send(head(request=b"GET " + raw_path.encode() + b"?x=%2F HTTP/1.1"))
            assert wire.answer().body == raw_path.encode()


def test_forwarded_fields_change_nothing_and_look_alikes_are_dropped(served: Served) -> None:
    """The client's address is that of the socket; a field with an underscore reads like another, and does not come through."""
    fields = (
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: evil.example",
        b"Forwarded: for=1.2.3.4",
        b"X_Forwarded_For: 5.6.7.8",
        b"Daphne-Root-Path: /evil",
        b"Content_Length: 7",
    )
    with served.wire() as wire:
        address = wire.socket.getsockname()
        wire.send(head(*fields, request=b"GET /echo HTTP/1.1"))
        seen = json.loads(wire.answer().body)
    assert (seen["client"], seen["scheme"], seen.get("root_path", "")) == (list(address), "http", "")
    names = [name for name, _ in seen["headers"]]
    assert "x-forwarded-for" in names
    assert not [name for name in names if "_" in name]


def test_trailers_of_a_request_never_become_fields(served: Served) -> None:
    """They come after every check, and would be trusted as if they had been checked (RFC 9110, 6.5.1)."""
    with served.wire() as wire:
        sent = post(CHUNKED[:-2], body=b"2\r\nab\r\n0\r\nX-Forwarded-For: 1.2.3.4\r\nHost: evil\r\n\r\n", path=b"/echo")
        wire.send(sent)
        seen = json.loads(wire.answer("POST").body)
        assert seen["body"] == "ab"
        assert [name for name, _ in seen["headers"]] == ["host", "transfer-encoding"]
        wire.send(head(request=b"GET /echo HTTP/1.1"))
        assert json.loads(wire.answer().body)["headers"] == [["host", "localhost"]]


def test_request_id_of_a_refusal_is_its_own(served: Served) -> None:
    """Not that of the request before on the same connection."""
    with served.wire() as wire:
        wire.send(head(b"X-Request-ID: first-request"))
        wire.answer()
        wire.send(b"GET /" + b"a" * 9000)
        assert wire.answer().problem["request_id"] != "first-request"
    with served.wire() as wire:
        wire.send(head(b"X-Request-ID: first-request", b"Host: again"))
        assert wire.answer().problem["request_id"] == "first-request"


def test_head_and_options_have_no_body_to_be_mistaken(served: Served) -> None:
    """Nothing follows the header of an answer to HEAD, 204 and 304, so that the next answer is where it belongs."""
    with served.wire() as wire:
        for request, status in (
            (b"HEAD /a HTTP/1.1", 200),
            (b"GET /status?is=204 HTTP/1.1", 204),
            (b"GET /status?is=304 HTTP/1.1", 304),
        ):
            wire.send(head(b"Range: bytes=0-1", b"If-None-Match: *", request=request))
            assert wire.answer(request.split()[0].decode()).status == status
        wire.send(head(request=b"OPTIONS /next HTTP/1.1"))
        assert wire.answer("OPTIONS").body == b"/next"


def test_refusals_are_counted(served: Served) -> None:
    """An operator sees that somebody tries."""
    before = served.metrics().total("stream_requests_refused_total", status="431")
    served.exchange(head(*[b"X-A: a"] * 101))
    assert served.metrics().total("stream_requests_refused_total", status="431") == before + 1
