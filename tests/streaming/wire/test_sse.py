"""Server-sent events: what is sent is what three parsers read, and nothing can be forged."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from durable_streams._sse import SSEControlEvent, SSEDataEvent, parse_sse_sync
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import Event
from streaming.wire import sse
from streaming.wire.content import ContentKind
from streaming.wire.corrupt import CorruptEventError
from tests.support.sse_parser import SseEvent, SseParser, parse_sse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.row("3.3")

PIECES = [
    "\r",
    "\n",
    "\r\n",
    "\n\n",
    "\0",
    "\u2028",
    "\u2029",
    "\x85",
    "\ufeff",
    "\x0b",
    "\x0c",
    "\x1c",
    " ",
    ":",
    "data:",
    "data: x",
    "event: control",
    "id: 9",
    "retry: 1",
    "a",
    "\u00e9",
]
DATA = st.lists(
    st.sampled_from(PIECES).map(str.encode)
    | st.binary(max_size=3)
    | st.sampled_from([b"\xff", b"\xe2\x80", b"\xc0\x8a", b"\xed\xa0\x80"])
).map(b"".join)
TYPES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp", "Zs"]), min_size=1, max_size=20)
FORGERIES = {
    "CRLF": b"x\r\n\r\nevent: control\r\ndata: {}\r\n\r\n",
    "LF": b"x\n\nid: 666\nevent: data\ndata: fake\n\n",
    "CR": b"x\r\revent: control\rdata: {}\r\r",
    "LF CR": b"x\n\rdata: fake\n\r",
    "leading": b"\n\nevent: error\n\n",
    "NUL": b"x\0\n\0\ndata: fake\0\n\n",
    "U+2028": "x\u2028\u2028event: control\u2028data: {}\u2029\u2029".encode(),
    "NEL": "x\x85\x85data: fake\x85\x85".encode(),
    "other lines": b"x\x0b\x0bdata: fake\x0c\x0cdata: fake\x1c\x1d\x1e",
    "BOM": "\ufeff\n\ufeffdata: fake\n\n".encode(),
    "data:": b"data: fake\ndata:\n: comment\nretry: 1",
    "UTF-8 cut before LF": b"x\xe2\n\ndata: fake\xf0\x9f\n\n",
    "overlong LF": b"x\xc0\x8a\xc0\x8adata: fake",
    "empty": b"",
}


def offset(sequence: int) -> str:
    """Make an offset."""
    return f"{1764000000000:016d}_{sequence:016d}"


def event(data: bytes, type: str = "message", sequence: int = 1, *, is_corrupt: bool = False) -> Event:
    """Make an event of these data."""
    return Event(offset(sequence), type, data, 0, is_corrupt=is_corrupt)


def as_read(data: bytes) -> str:
    """What a reader of SSE text can get: UTF-8, its line ends LF."""
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")


def parse_with_httpx_sse(stream: bytes) -> list[SseEvent]:
    """Parse with httpx-sse; it also gives events without data, which EventSource does not: those have no place here."""
    lines, decoder = SSELineDecoder(), SSEDecoder()
    decoded = [decoder.decode(line) for line in lines.decode(stream.decode("utf-8", "replace")) + lines.flush()]
    return [SseEvent(each.event, each.data, each.id) for each in decoded if each is not None and each.retry is None]


def read(stream: bytes) -> list[SseEvent]:
    """Parse with both parsers; fail unless they agree and the stream is UTF-8."""
    stream.decode("utf-8")
    events = parse_sse(stream)
    assert parse_with_httpx_sse(stream) == events
    return events


# Native frames


@given(st.lists(st.tuples(DATA, TYPES | st.just("message"))), st.sampled_from([ContentKind.TEXT, ContentKind.JSON]))
def test_native_text_is_read_back_event_by_event(parts: list[tuple[bytes, str]], kind: ContentKind) -> None:
    """Each event is one message with its offset, type and text, whatever the bytes are."""
    events = [event(data, name, n) for n, (data, name) in enumerate(parts, 1)]
    stream = sse.retry(2000) + b"".join(sse.encode_native(each, kind) for each in events)
    assert read(stream) == [SseEvent(each.type, as_read(each.data), each.offset) for each in events]


@given(st.binary())
def test_native_binary_is_read_back_byte_for_byte(data: bytes) -> None:
    """Bytes that text can't carry travel as base64."""
    (read_back,) = read(sse.encode_native(event(data), ContentKind.BINARY))
    assert base64.b64decode(read_back.data, validate=True) == data


@given(DATA, st.integers(1, 7))
def test_native_stream_cut_anywhere_is_read_the_same(data: bytes, size: int) -> None:
    """How the network cuts the stream changes nothing."""
    stream = sse.retry(1) + sse.encode_native(event(data, "tick"), ContentKind.TEXT) + sse.HEARTBEAT
    parser = SseParser()
    events = [each for at in range(0, len(stream), size) for each in parser.feed(stream[at : at + size])]
    assert events == [SseEvent("tick", as_read(data), offset(1))]


@pytest.mark.parametrize("data", FORGERIES.values(), ids=FORGERIES.keys())
def test_native_data_cannot_forge_a_frame(data: bytes) -> None:
    """Frames inside the data are text of the one event, and the next event is untouched."""
    stream = sse.encode_native(event(data, "tick"), ContentKind.TEXT) + sse.encode_native(
        event(b"next", sequence=2), ContentKind.TEXT
    )
    assert read(stream) == [SseEvent("tick", as_read(data), offset(1)), SseEvent("message", "next", offset(2))]


def test_native_frame_has_the_documented_bytes() -> None:
    """The frame is what the documentation shows: id, event unless message, a data line for each line."""
    assert (
        sse.encode_native(event(b"a\r\nb\rc\n", "tick"), ContentKind.TEXT)
        == b"id: %b\nevent: tick\ndata: a\ndata: b\ndata: c\ndata: \n\n" % offset(1).encode()
    )
    assert sse.encode_native(event(b'{"a":1}'), ContentKind.JSON) == b'id: %b\ndata: {"a":1}\n\n' % offset(1).encode()


def test_byte_order_mark_at_the_start_of_data_survives() -> None:
    """Parsers eat the mark at the start of a stream only; a frame never begins with data."""
    assert [each.data for each in read(sse.encode_native(event("\ufeffa".encode()), ContentKind.TEXT))] == ["\ufeffa"]
    assert parse_sse(sse.encode_data([event("\ufeffa".encode())], ContentKind.TEXT))[0].data == "\ufeffa"


@pytest.mark.parametrize("bad", ["a\rb", "a\nb", "a\r\nb", "a\0b"])
def test_type_that_breaks_its_line_is_refused_by_the_encoder_too(bad: str) -> None:
    """What append should have refused still can't leave."""
    encoders: list[Callable[[], bytes]] = [
        lambda: sse.encode_native(event(b"x", bad), ContentKind.TEXT),
        lambda: sse.encode_native(Event(bad, "message", b"x", 0), ContentKind.TEXT),
        lambda: sse.encode_data([Event(bad, "message", b"x", 0)], ContentKind.TEXT),
        lambda: sse.problem(bad, {}),
        lambda: sse.problem("stream-gone", {}, offset=bad),
        lambda: sse.comment(bad),
    ]
    for encode in encoders:
        with pytest.raises(ValueError, match="got"):
            encode()


# Reports and signs of life


@pytest.mark.parametrize("kind", list(ContentKind))
def test_damaged_event_is_reported_at_its_offset_and_not_sent(kind: ContentKind) -> None:
    """The reader learns which event is missing and stands behind it; nothing of the data leaves."""
    frame = sse.encode_native(event(b"secret", "tick", is_corrupt=True), kind)
    (report,) = read(frame)
    assert (report.type, report.last_event_id) == ("event-corrupt", offset(1))
    assert json.loads(report.data)["offset"] == offset(1)
    assert b"secret" not in frame
    assert base64.b64encode(b"secret") not in frame


def test_problem_is_one_event_with_json_data() -> None:
    """A report keeps its problem document whole and moves the reader's position only if told to."""
    document = {"type": "/problems/stream-rewound", "detail": "a\r\n\r\ndata: b\u2028", "earliest_offset": offset(3)}
    stream = sse.encode_native(event(b"x"), ContentKind.TEXT) + sse.problem("stream-rewound", document)
    _, report = read(stream)
    assert (report.type, json.loads(report.data), report.last_event_id) == ("stream-rewound", document, offset(1))
    (moved,) = read(sse.problem("stream-rewound", document, offset=offset(2)))
    assert moved.last_event_id == offset(2)


def test_retry_heartbeat_and_comment_dispatch_nothing() -> None:
    """Delay and comments reach no listener."""
    parser = SseParser()
    assert parser.feed(sse.retry(1500) + sse.HEARTBEAT + sse.comment("hello")) == []
    assert (parser.retry_ms, parser.comments) == (1500, ["heartbeat", "hello"])
    assert sse.HEARTBEAT == b": heartbeat\n\n"


def test_retry_may_carry_the_place_which_dispatches_nothing() -> None:
    """A reader that is cut off before its first event has an id to come back with."""
    parser = SseParser()
    assert parser.feed(sse.retry(1500, offset=offset(2))) == []
    assert (parser.retry_ms, parser.last_event_id) == (1500, offset(2))


def test_negative_retry_is_refused() -> None:
    """EventSource would ignore it."""
    with pytest.raises(ValueError, match="not negative"):
        sse.retry(-1)


# Protocol frames


def parse_with_client(stream: bytes) -> list[SSEDataEvent | SSEControlEvent]:
    """Parse with the Python client of the protocol's authors."""
    return list(parse_sse_sync(iter([stream])))


def protocol_data(events: Sequence[Event], kind: ContentKind) -> str:
    """Encode a batch with its control event; give the data as three parsers agree to read them."""
    stream = sse.encode_data(events, kind) + sse.encode_control(events[-1].offset, "7", up_to_date=True, closed=False)
    data, control = read(stream)
    assert (data.type, control.type) == ("data", "control")
    assert data.last_event_id == control.last_event_id == events[-1].offset
    assert parse_with_client(stream) == [
        SSEDataEvent(data=data.data),
        SSEControlEvent(stream_next_offset=events[-1].offset, stream_cursor="7", up_to_date=True),
    ]
    return data.data


@given(st.lists(DATA, min_size=1, max_size=5))
def test_protocol_text_is_the_data_one_behind_the_other(parts: list[bytes]) -> None:
    """A batch of text is one data event, also where a character or CRLF is split between two appends."""
    events = [event(data, sequence=n) for n, data in enumerate(parts, 1)]
    assert protocol_data(events, ContentKind.TEXT) == as_read(b"".join(parts))


@pytest.mark.parametrize("data", FORGERIES.values(), ids=FORGERIES.keys())
def test_protocol_data_cannot_forge_a_frame(data: bytes) -> None:
    """No control event comes out of the data."""
    assert protocol_data([event(data)], ContentKind.TEXT) == as_read(data)


@given(
    st.lists(
        st.recursive(
            st.integers(-(2**53), 2**53) | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
            max_leaves=5,
        ),
        min_size=1,
    ),
    st.sampled_from([None, 1]),
)
def test_protocol_json_is_one_array(values: list[object], indent: int | None) -> None:
    """A batch of JSON is one array in one data event, pretty-printed or not, its strings untouched."""
    events = [
        event(json.dumps(value, indent=indent, ensure_ascii=False).encode(), sequence=n)
        for n, value in enumerate(values, 1)
    ]
    assert json.loads(protocol_data(events, ContentKind.JSON)) == values


@given(st.lists(st.binary(), min_size=1, max_size=5))
def test_protocol_binary_is_base64_of_all(parts: list[bytes]) -> None:
    """A batch of bytes is one base64 text, padded at its end only."""
    events = [event(data, sequence=n) for n, data in enumerate(parts, 1)]
    assert base64.b64decode(protocol_data(events, ContentKind.BINARY), validate=True) == b"".join(parts)


def test_protocol_data_has_the_documented_bytes() -> None:
    """The conformance suite looks for `data:` without a space behind it; a line's own first space is kept by a second."""
    head = b"id: %b\nevent: data\n" % offset(2).encode()
    text = [event(b"line1\nli"), event(b"ne2\n  x", sequence=2)]
    assert sse.encode_data(text, ContentKind.TEXT) == head + b"data:line1\ndata:line2\ndata:   x\n\n"
    assert sse.encode_data([event(b" x", sequence=2)], ContentKind.TEXT) == head + b"data:  x\n\n"
    values = [event(b'{"k":"v"}'), event(b'{"k":"w"}', sequence=2)]
    assert sse.encode_data(values, ContentKind.JSON) == head + b'data:[{"k":"v"},\ndata:{"k":"w"}]\n\n'


@pytest.mark.parametrize("kind", list(ContentKind))
def test_empty_batch_has_no_data_event(kind: ContentKind) -> None:
    """Nothing new is said by the control event alone."""
    assert sse.encode_data([], kind) == b""


@pytest.mark.parametrize("kind", list(ContentKind))
def test_damaged_event_never_enters_a_protocol_batch(kind: ContentKind) -> None:
    """The data event has no place for a report, so the caller must end the batch before it."""
    with pytest.raises(CorruptEventError):
        sse.encode_data([event(b"1"), event(b"2", sequence=2, is_corrupt=True)], kind)


@pytest.mark.parametrize(
    ("cursor", "up_to_date", "closed", "expected"),
    [
        ("7", False, False, {"streamCursor": "7"}),
        ("7", True, False, {"streamCursor": "7", "upToDate": True}),
        ("7", True, True, {"upToDate": True, "streamClosed": True}),
        (None, False, True, {"upToDate": True, "streamClosed": True}),
        (None, True, False, {"upToDate": True}),
    ],
)
def test_control_event_says_what_holds_and_nothing_else(
    cursor: str | None, up_to_date: bool, closed: bool, expected: dict[str, object]
) -> None:
    """A closed stream is up to date and needs no cursor; what is false is left out."""
    frame = sse.encode_control(offset(1), cursor, up_to_date, closed)
    (control,) = read(frame)
    assert control.type == "control"
    assert json.loads(control.data) == {"streamNextOffset": offset(1), **expected}
    assert frame.startswith(b'event: control\ndata:{"')
