"""An answer's bytes: status line, fields, chunks, trailers (RFC 9112, 4 to 7). Pure but for the clock of `Date`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from email.utils import formatdate
from http import HTTPStatus

__all__ = [
    "CONTINUE",
    "LAST_CHUNK",
    "OWN_FIELDS",
    "chunk",
    "date_field",
    "encode_fields",
    "encode_trailers",
    "status_line",
]

Fields = Iterable[tuple[bytes, bytes]]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
OWN_FIELDS = frozenset({b"connection", b"keep-alive", b"transfer-encoding", b"upgrade", b"proxy-connection"})
"""They speak of the connection, which is ours; what an application says in them is not passed on, but for `close`."""
_NOT_IN_TRAILERS = OWN_FIELDS | {
    b"content-length", b"content-type", b"content-encoding", b"content-range", b"trailer", b"host", b"set-cookie",
    b"authorization", b"cache-control", b"te",
}  # fmt: skip
"""RFC 9110, 6.5.1: what has to be known before the body."""

_status_lines: dict[int, bytes] = {}
_date = (0, b"")


def status_line(status: int) -> bytes:
    """The first line of an answer, with its line end."""
    line = _status_lines.get(status)
    if line is None:
        if not 100 <= status <= 999:
            raise ValueError(f"{status} is not a status")
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        line = _status_lines[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")
    return line


def date_field() -> bytes:
    """`Date: …` with its line end, made once a second."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii"))
    return _date[1]


def encode_fields(fields: Fields) -> bytes:
    """Header fields as lines.

    Raises: ValueError: a name or value has a line end or NUL: it would begin a field or an answer of its own (CWE-113).
    """
    count = 0
    parts: list[bytes] = []
    for name, value in fields:
        parts += (name, b": ", value, b"\r\n")
        count += 1
    block = b"".join(parts)
    if block.count(b"\n") != count or block.count(b"\r") != count or b"\0" in block:
        raise ValueError("a header field of the response has a line end or NUL in it")
    return block


def encode_trailers(fields: Fields) -> bytes:
    """The end of a chunked body with trailer fields.

    Raises: ValueError: a field that may not be there, or as `encode_fields`.
    """
    fields = list(fields)
    for name, _ in fields:
        if name.lower() in _NOT_IN_TRAILERS:
            raise ValueError(f"{name.decode('latin-1')} can't be a trailer field")
    return b"0\r\n" + encode_fields(fields) + b"\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk; `data` is not empty, for an empty one would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
