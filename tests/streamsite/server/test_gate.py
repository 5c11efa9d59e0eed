"""Heads that the parser lets pass: what becomes of each. Whole requests are in tests/hardening/test_gate_on_the_wire.py."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from streamsite.server.gate import Fields, Refused, check_head, check_raw, without_upgrade
from streamsite.server.limits import Limits

HOST = (b"host", b"a.example")
LIMITS = Limits(head_bytes=200, line_bytes=100, fields=3)


@dataclass(frozen=True)
class Row:
    """A head, and the status that it is refused with."""

    what: str
    status: int = 400
    method: bytes = b"GET"
    target: bytes = b"/"
    version: str = "1.1"
    fields: Fields = field(default_factory=lambda: [HOST])

    def __str__(self) -> str:
        return self.what


def fields(*more: tuple[bytes, bytes]) -> Fields:
    """Host and these."""
    return [HOST, *more]


REFUSED = [
    Row("HTTP/2.0", 505, version="2.0"),
    Row("HTTP/0.9", 505, version="0.9"),
    Row("CONNECT", method=b"CONNECT"),
    Row("TRACE", method=b"TRACE"),
    Row("no Host", fields=[]),
    Row("two Hosts", fields=[HOST, HOST]),
    *(Row(f"Host: {host!r}", fields=[(b"host", host)]) for host in (b"a b", b"a/b", b"a@b", b"a,b:1:2", b"a:b", b"[a", b"a\\b", b"\xe4")),
    Row("both lengths", fields=fields((b"content-length", b"0"), (b"transfer-encoding", b"chunked"))),
    Row("two lengths", fields=fields((b"content-length", b"0"), (b"content-length", b"0"))),
    Row("two codings", fields=fields((b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"chunked"))),
    Row("chunked in HTTP/1.0", version="1.0", fields=fields((b"transfer-encoding", b"chunked"))),
    *(Row(f"coding {coding!r}", fields=fields((b"transfer-encoding", coding))) for coding in (b"", b"identity", b"gzip, chunked", b"chunked;a=b", b"\x0bchunked")),
    *(Row(f"length {length!r}", fields=fields((b"content-length", length))) for length in (b"", b"-1", b"+1", b"1 1", b"0x1", b"1, 1", b"1" * 19, b"\xb2")),
    Row("another expectation", 417, fields=fields((b"expect", b"200-ok"))),
    Row("another host in the target", target=b"http://b.example/"),
    Row("a user in the target", target=b"http://u@a.example/"),
    Row("another scheme", target=b"ftp://a.example/"),
    Row("an authority", target=b"a.example:80"),
    Row("* for GET", target=b"*"),
    *(Row(f"target {target!r}", target=target) for target in (b"", b"a", b"/\x7f", b"/ a", b"/#a", b"/\xc3\xa4", b"/\x00")),
]  # fmt: skip


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_head_that_can_be_read_in_two_ways_is_refused(row: Row) -> None:
    """By RFC 9112 and by what smugglers use."""
    with pytest.raises(Refused) as caught:
        check_head(row.method, row.target, row.version, row.fields)
    assert caught.value.status == row.status


@pytest.mark.parametrize(
    ("target", "raw_path", "path", "query"),
    [
        (b"/", b"/", "/", b""),
        (b"/a%2Fb/%C3%A4?c=%2F&d", b"/a%2Fb/%C3%A4", "/a/b/ä", b"c=%2F&d"),
        (b"/a+b;c=d", b"/a+b;c=d", "/a+b;c=d", b""),
        (b"/a??b", b"/a", "/a", b"?b"),
        (b"http://A.example", b"/", "/", b""),
        (b"https://a.example/b?c", b"/b", "/b", b"c"),
        (b"http://a.example?c", b"/", "/", b"c"),
        (b"//b.example/c", b"//b.example/c", "//b.example/c", b""),
    ],
)
def test_target_is_split_and_the_raw_path_kept(target: bytes, raw_path: bytes, path: str, query: bytes) -> None:
    """In origin and in absolute form; decoding is for those who want it."""
    head = check_head(b"GET", target, "1.1", [HOST])
    assert (head.raw_path, head.path, head.query) == (raw_path, path, query)


def test_asterisk_is_for_options() -> None:
    """RFC 9110, 9.3.7."""
    assert check_head(b"OPTIONS", b"*", "1.1", [HOST]).path == "*"


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        ("1.1", b"", True),
        ("1.1", b"close", False),
        ("1.1", b"x, Close", False),
        ("1.0", b"", False),
        ("1.0", b"Keep-Alive", True),
        ("1.0", b"keep-alive, close", True),
    ],
)
def test_connection_goes_on_as_the_version_says(version: str, connection: bytes, keeps: bool) -> None:
    """HTTP/1.1 keeps it unless told, HTTP/1.0 the other way round."""
    assert check_head(b"GET", b"/", version, fields((b"connection", connection))).keep_alive is keeps


@pytest.mark.parametrize(
    ("more", "size"),
    [([], 0), ([(b"content-length", b"007")], 7), ([(b"content-length", b"9" * 18)], 10**18 - 1), ([(b"transfer-encoding", b"Chunked")], -1)],
)  # fmt: skip
def test_length_of_the_body_is_known(more: Fields, size: int) -> None:
    """-1 is chunked."""
    assert check_head(b"POST", b"/", "1.1", fields(*more)).body_bytes == size


def test_fields_with_underscores_are_dropped_and_the_rest_kept_in_order() -> None:
    """A gateway that turns `-` into `_` would let `X_Forwarded_For` pass for the other."""
    given = fields((b"x-a", b"1"), (b"x_a", b"2"), (b"x-a", b"3"), (b"x-request-id", b"12345678"))
    head = check_head(b"GET", b"/", "1.1", given)
    assert head.fields == [HOST, (b"x-a", b"1"), (b"x-a", b"3"), (b"x-request-id", b"12345678")]
    assert head.request_id == b"12345678"


def test_what_http_1_0_can_not_know_is_ignored_there() -> None:
    """No 100 Continue, no trailers, no upgrade."""
    more = [(b"expect", b"100-continue"), (b"te", b"gzip, Trailers;q=1"), (b"connection", b"Upgrade")]
    new = check_head(b"GET", b"/", "1.1", fields(*more), b"WebSocket")
    assert (new.expects_continue, new.takes_trailers, new.upgrade) == (True, True, b"websocket")
    old = check_head(b"GET", b"/", "1.0", fields(*more), b"WebSocket")
    assert (old.expects_continue, old.takes_trailers, old.upgrade) == (False, False, b"")


def test_upgrade_counts_only_where_connection_names_it() -> None:
    """A proxy that passes Upgrade on by mistake did not mean us."""
    assert check_head(b"GET", b"/", "1.1", [HOST], b"websocket").upgrade == b""


def test_upgrade_field_is_hidden_from_the_parser() -> None:
    """And nothing else: a value with the same word stays."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\nUPGRADE:  h2c\r\nX-A: upgrade: h2c\r\n\r\n"
    assert without_upgrade(head) == b"GET / HTTP/1.1\r\nHost: a\r\nX-A: upgrade: h2c\r\n\r\n"
    broken = b"GET / HTTP/1.1\r\nUpgrade : h2c\r\nUpgrade: a\nX: b\r\n\r\n"
    assert b"Upgrade :" in without_upgrade(broken), "it is the parser's to refuse"
    assert b"\nX: b" in without_upgrade(broken)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /" + b"a" * 200, 414),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 100 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 100, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: aaaaaaaaaaaaaaaaaa\r\n" * 10, 431),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 4 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"A: a\r\n" * 3 + b"\r\n", 0),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 97 + b"\r\n\r\n", 0),
    ],
)
def test_size_of_a_head_is_bounded_while_it_comes(head: bytes, status: int) -> None:
    """414 where the first line is to blame, 431 otherwise; a head that has not ended is counted as well."""
    if not status:
        check_raw(head, LIMITS)
        return
    with pytest.raises(Refused) as caught:
        check_raw(head, LIMITS)
    assert caught.value.status == status
