"""Events on stdout."""

from __future__ import annotations

import base64
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.client import ReadEvent
from streaming.management.event_output import EventOutput, encode_line


def shown(*events: ReadEvent, content_type: str = "text/plain", as_json: bool = False, is_raw: bool = False) -> bytes:
    """What is written for the events."""
    out = io.BytesIO()
    output = EventOutput(out, content_type, as_json=as_json, is_raw=is_raw)
    for event in events:
        output.write(event)
    return out.getvalue()


def test_event_is_a_line_whether_it_ends_with_one_or_not() -> None:
    """One line end follows each event, never two."""
    assert shown(ReadEvent(b"a"), ReadEvent(b"b\n"), ReadEvent(b"c\r\n")) == b"a\nb\nc\n"


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    """Invalid UTF-8 can't reach a terminal; --raw gives the bytes, and of a binary stream nothing but them."""
    assert shown(ReadEvent(b"a\xff\x9b")) == b"a\\xff\\x9b\n"
    assert shown(ReadEvent(b"a\xff"), is_raw=True) == b"a\xff\n"
    assert shown(ReadEvent(b"a\xff"), content_type="image/png", is_raw=True) == b"a\xff"


def test_character_between_two_pieces_is_kept_whole() -> None:
    """Pieces of a foreign text stream may cut a character in two."""
    euro = "€".encode()
    pieces = ReadEvent(euro[:1], is_piece=True), ReadEvent(euro[1:] + b"\n", is_piece=True)
    assert shown(*pieces) == "€\n".encode()


@given(st.binary(min_size=1))
def test_json_line_gives_the_data_back(data: bytes) -> None:
    """Text as text, anything else as base64 that says so."""
    line = json.loads(encode_line(ReadEvent(data, "1", "t", "now"), holds_json=False))
    text = line["data"]
    assert (base64.b64decode(text) if line.get("encoding") == "base64" else text.encode()) == data
    assert (line["offset"], line["type"], line["time"]) == ("1", "t", "now")


@pytest.mark.parametrize("value", [b"1e400", b'{"a":1.000000000000000000000001}', b"null"])
def test_json_value_stays_as_it_is(value: bytes) -> None:
    """No digit of a number is lost on the way out."""
    assert encode_line(ReadEvent(value), holds_json=True) == b'{"type":"message","data":' + value + b"}\n"
