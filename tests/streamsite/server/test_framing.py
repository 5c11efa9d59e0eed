"""An answer's bytes."""

from __future__ import annotations

import email.utils
import time

import pytest

from streamsite.server import framing


def test_status_line_is_made_for_any_status_that_is_one() -> None:
    """With an empty phrase where there is none; the space stays (RFC 9112, 4)."""
    assert framing.status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert framing.status_line(599) == b"HTTP/1.1 599 \r\n"
    for status in (0, 99, 1000):
        with pytest.raises(ValueError):
            framing.status_line(status)


def test_date_is_now() -> None:
    """To the second, in GMT."""
    name, _, value = framing.date_field().decode().partition(": ")
    assert name == "Date"
    assert value.endswith(" GMT\r\n")
    assert abs(email.utils.parsedate_to_datetime(value).timestamp() - time.time()) < 2


@pytest.mark.parametrize(
    "field",
    [(b"a", b"b\r\nc: d"), (b"a", b"b\nc: d"), (b"a", b"b\rc"), (b"a\r\nb", b"c"), (b"a", b"b\0"), (b"a", b"b\r\n")],
)
def test_field_can_not_begin_another_one(field: tuple[bytes, bytes]) -> None:
    """A line end in a name or a value would be a field, or an answer, of somebody else's (CWE-113)."""
    with pytest.raises(ValueError):
        framing.encode_fields([(b"x", b"y"), field])


def test_fields_are_lines() -> None:
    """In their order, as they are."""
    assert framing.encode_fields([(b"A", b"b"), (b"c", b"")]) == b"A: b\r\nc: \r\n"
    assert framing.encode_fields([]) == b""


@pytest.mark.parametrize("name", [b"Content-Length", b"transfer-encoding", b"Host", b"Set-Cookie", b"trailer"])
def test_trailers_hold_nothing_that_decides(name: bytes) -> None:
    """RFC 9110, 6.5.1."""
    with pytest.raises(ValueError):
        framing.encode_trailers([(name, b"1")])


def test_chunks_and_their_end() -> None:
    """Sizes are hexadecimal; trailers stand between the last chunk and the empty line."""
    assert framing.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert framing.encode_trailers([(b"x-sum", b"1")]) == b"0\r\nx-sum: 1\r\n\r\n"
    assert framing.encode_trailers([]) == framing.LAST_CHUNK
