"""NDJSON: one line an event, whatever the data hold."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import Event
from streaming.wire import ndjson
from streaming.wire.content import ContentKind

pytestmark = pytest.mark.row("3.3")

OFFSET = "0001764000000000_0000000000000001"
NASTY = [
    "\r",
    "\n",
    "\r\n",
    "\0",
    "\u2028",
    "\u2029",
    "\x85",
    "\ufeff",
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1e",
    '"',
    "\\",
    "data:",
    "a",
    "\u00e9",
    "\U0001f600",
]
TEXTS = st.lists(st.sampled_from(NASTY) | st.text(max_size=4), max_size=8).map("".join)
TYPES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"]), min_size=1, max_size=20)


def event(data: bytes, type: str = "message", time_ms: int = 1_767_225_600_000, *, is_corrupt: bool = False) -> Event:
    """Make an event of these data."""
    return Event(OFFSET, type, data, time_ms, is_corrupt=is_corrupt)


def decode(line: bytes) -> dict[str, Any]:
    """Decode a line with two parsers that others wrote; fail unless they agree and every line reader sees one line."""
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    response = httpx.Response(200, content=line)
    assert len(list(response.iter_lines())) == 1
    value = json.loads(line)
    assert msgspec.json.decode(line) == value
    assert isinstance(value, dict)
    return value


@given(TEXTS, TYPES)
def test_text_comes_back_as_the_same_string(text: str, type: str) -> None:
    """No character of text or type ends the line, for readers who end lines at U+2028 or NEL either."""
    line = ndjson.encode_line(event(text.encode(), type), ContentKind.TEXT)
    assert decode(line) == {"offset": OFFSET, "type": type, "time": "2026-01-01T00:00:00.000Z", "data": text}


@given(st.binary())
def test_invalid_utf8_in_text_is_replaced(data: bytes) -> None:
    """A line is always UTF-8."""
    assert decode(ndjson.encode_line(event(data), ContentKind.TEXT))["data"] == data.decode("utf-8", "replace")


@given(st.binary())
def test_binary_comes_back_byte_for_byte(data: bytes) -> None:
    """Bytes travel as base64 and say so."""
    value = decode(ndjson.encode_line(event(data), ContentKind.BINARY))
    assert value["encoding"] == "base64"
    assert base64.b64decode(value["data"], validate=True) == data


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
        max_leaves=5,
    ),
    st.sampled_from([None, 2]),
)
def test_json_comes_back_as_the_same_value(value: object, indent: int | None) -> None:
    """Pretty-printed values come on one line and mean the same."""
    data = json.dumps(value, indent=indent, ensure_ascii=False).replace("\n", "\r\n").encode()
    line = decode(ndjson.encode_line(event(data), ContentKind.JSON))
    assert line["data"] == value
    assert "encoding" not in line


def test_json_is_embedded_with_every_digit_and_key() -> None:
    """JSON data are not written anew: long numbers and duplicate keys stand in the line as sent."""
    data = b'{"n": 12345678901234567890123456789.50, "k":1, "k":2}'
    assert b'"data":' + data + b"}\n" in ndjson.encode_line(event(data), ContentKind.JSON)


@pytest.mark.parametrize("kind", list(ContentKind))
def test_damaged_event_is_reported_and_not_sent(kind: ContentKind) -> None:
    """The line has the offset and a problem, and nothing of the data."""
    line = ndjson.encode_line(event(b'"secret"', is_corrupt=True), kind)
    value = decode(line)
    assert (value["offset"], value["error"]["type"]) == (OFFSET, "/problems/event-corrupt")
    assert "data" not in value
    assert b"secret" not in line
    assert base64.b64encode(b"secret") not in line


def test_reports_have_their_forms() -> None:
    """Problem, end and heartbeat are lines that no event can look like."""
    assert decode(ndjson.problem({"type": "/problems/stream-rewound", "detail": "a\nb\u2028"})) == {
        "error": {"type": "/problems/stream-rewound", "detail": "a\nb\u2028"}
    }
    assert ndjson.closed(OFFSET) == b'{"closed":true,"offset":"%b"}\n' % OFFSET.encode()
    assert ndjson.HEARTBEAT == b"\n"


@given(st.integers(0, 253_402_300_799_999))
def test_time_reads_back_to_the_millisecond(time_ms: int) -> None:
    """The time is RFC 3339 in UTC, exact."""
    text = ndjson.format_time(time_ms)
    assert len(text) == 24
    seconds, milliseconds = divmod(time_ms, 1000)
    assert datetime.fromisoformat(text) == datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
