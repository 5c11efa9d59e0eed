"""NDJSON: one JSON object a line for each event, catch-up and live.

`{"offset":…,"type":…,"time":…,"data":…}`: data are the JSON value itself in a JSON stream, a string in a text stream, and
else base64 with `"encoding":"base64"` behind. A line without `data` is a report: `error`, `closed`, or, empty, a heartbeat.
"""

from __future__ import annotations

from binascii import b2a_base64
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from .content import ContentKind
from .corrupt import corrupt_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.events import Event

__all__ = ["HEARTBEAT", "closed", "encode_line", "format_time", "problem"]

HEARTBEAT = b"\n"
"""An empty line, which readers of NDJSON skip."""

# Not line ends in NDJSON, but many line readers end lines there (str.splitlines, and so httpx's iter_lines). In JSON they
# can stand only inside strings, so escaping them changes no value.
_LINE_END_LOOKALIKES = (("\u2028".encode(), b"\\u2028"), ("\u2029".encode(), b"\\u2029"), ("\x85".encode(), b"\\u0085"))


def encode_line(event: Event, kind: ContentKind) -> bytes:
    """Make the line of one event; a damaged one becomes an `error` line with its offset."""
    if event.is_corrupt:
        return _line(orjson.dumps({"offset": event.offset, "error": corrupt_problem(event.offset)}))
    data = event.data
    if kind is ContentKind.JSON:
        # Raw line breaks in JSON are white space between tokens: in strings they must be escaped.
        value = data.replace(b"\n", b" ").replace(b"\r", b" ")
    elif kind is ContentKind.TEXT:
        value = orjson.dumps(data.decode("utf-8", "replace"))
    else:
        value = b'"' + b2a_base64(data, newline=False) + b'","encoding":"base64"'
    return _line(
        b'{"offset":%b,"type":%b,"time":"%b","data":%b}'
        % (orjson.dumps(event.offset), _type_value(event.type), format_time(event.time_ms).encode(), value)
    )


def problem(document: Mapping[str, Any]) -> bytes:
    """Make the line that reports trouble in the middle of a stream: `{"error":{…}}`."""
    return _line(orjson.dumps({"error": dict(document)}))


def closed(offset: str) -> bytes:
    """Make the last line of a closed stream: `{"closed":true,"offset":…}`."""
    return _line(orjson.dumps({"closed": True, "offset": offset}))


def format_time(time_ms: int) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds: `2026-01-01T00:00:00.000Z`."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_format_seconds(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=64)
def _format_seconds(seconds: int) -> str:
    # Events of a page share their seconds: cached, a line costs a third less.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _type_value(type: str) -> bytes:
    return orjson.dumps(type)


def _line(text: bytes) -> bytes:
    if not text.isascii():
        for raw, escape in _LINE_END_LOOKALIKES:
            text = text.replace(raw, escape)
    return text + b"\n"
