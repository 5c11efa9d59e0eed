"""Server-sent events, in two dialects (WHATWG HTML 9.2; Durable Streams 5.8).

*Native*, for EventSource: a frame for each event, its `id:` the offset. *Protocol* (`live=sse`): a `data` event for a batch,
always followed by a `control` event that says where to go on.

Lines end at LF, CR and CRLF and nowhere else, so all three become line breaks of the frame and read back as LF; a lone CR can't
survive in SSE text. Whatever the data hold, each of their lines gets its own `data:`, so no frame can be forged.
"""

from __future__ import annotations

from binascii import b2a_base64
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from streaming.events import DEFAULT_TYPE, Event

from .content import ContentKind
from .corrupt import corrupt_problem, refuse_corrupt
from .event_type import EVENT_CORRUPT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["HEARTBEAT", "comment", "encode_control", "encode_data", "encode_native", "problem", "retry"]

HEARTBEAT = b": heartbeat\n\n"
"""A comment: keeps proxies awake and shows a dead connection; no reader sees it."""


# Native frames


def encode_native(event: Event, kind: ContentKind) -> bytes:
    """Make the frame of one event; a damaged one becomes an `event-corrupt` report with its offset.

    Raises: ValueError: offset or type could break out of their lines; append has let none such in.
    """
    if event.is_corrupt:
        return problem(EVENT_CORRUPT, corrupt_problem(event.offset), offset=event.offset)
    data = event.data
    is_binary = kind is ContentKind.BINARY
    text = b2a_base64(data, newline=False) if is_binary else _break_lines(_as_utf8(data), b"\ndata: ")
    return b"%b%b\ndata: %b\n\n" % (_id_field(event.offset), _event_field(event.type), text)


def problem(event_name: str, document: Mapping[str, Any], *, offset: str | None = None) -> bytes:
    """Make the frame that reports trouble in the middle of a stream, its data a problem document.

    Args:
        event_name: one of the reserved types of `event_type.py`.
        document: becomes the data, on one line.
        offset: where the reader stands after the report, if it moves on.
    """
    name = _checked(event_name).encode()
    head = b"" if offset is None else _id_field(offset) + b"\n"
    return b"%bevent: %b\ndata: %b\n\n" % (head, name, orjson.dumps(dict(document)))


def retry(delay_ms: int, *, offset: str | None = None) -> bytes:
    """Tell EventSource how long to wait before it connects again.

    Args:
        offset: where the reader stands, for the Last-Event-ID of a reader that is cut off before its first event.
    """
    if delay_ms < 0:
        raise ValueError(f"a delay is not negative, got {delay_ms}")
    tail = b"" if offset is None else _id_field(offset) + b"\n"
    return b"retry: %d\n%b\n" % (delay_ms, tail)


def comment(text: str) -> bytes:
    """Make a comment, which no reader sees.

    Raises: ValueError: it has CR, LF or NUL.
    """
    return b": %b\n\n" % _checked(text).encode()


# Protocol frames


def encode_data(events: Sequence[Event], kind: ContentKind) -> bytes:
    """Make the one `data` event of a batch, its `id:` the offset of the last; nothing for an empty batch.

    A JSON array, a value a line at least; text one behind the other; else base64 of the bytes one behind the other.

    Raises: CorruptEventError: a damaged event is among them.
    """
    if not events:
        return b""
    refuse_corrupt(events)
    data = [event.data for event in events]
    if kind is ContentKind.BINARY:
        text = b2a_base64(b"".join(data), newline=False)
    elif kind is ContentKind.JSON:
        text = _protocol_lines(_as_utf8(b"[" + b",\n".join(data) + b"]"))
    else:
        # Joined before it is read as UTF-8: a character may be split between two appends.
        text = _protocol_lines(_as_utf8(b"".join(data)))
    return b"%b\nevent: data\ndata:%b\n\n" % (_id_field(events[-1].offset), text)


def encode_control(next_offset: str, cursor: str | None, up_to_date: bool, closed: bool) -> bytes:
    """Make the `control` event that follows every data event.

    Args:
        next_offset: where a reader that has this goes on.
        cursor: of this answer; left out once the stream is closed.
        up_to_date: nothing more was in the log; a closed stream always is.
        closed: nothing will ever follow.
    """
    fields: dict[str, str | bool] = {"streamNextOffset": next_offset}
    if cursor is not None and not closed:
        fields["streamCursor"] = cursor
    if up_to_date or closed:
        fields["upToDate"] = True
    if closed:
        fields["streamClosed"] = True
    # The conformance suite wants no space behind `data:` in both events.
    return b"event: control\ndata:%b\n\n" % orjson.dumps(fields)


# Lines


def _as_utf8(data: bytes) -> bytes:
    if data.isascii():
        return data
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace").encode()
    return data


def _break_lines(text: bytes, separator: bytes) -> bytes:
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.replace(b"\n", separator)


def _protocol_lines(text: bytes) -> bytes:
    # Parsers take one space behind the colon away: a line that begins with one needs a second.
    text = _break_lines(text, b"\ndata:").replace(b"\ndata: ", b"\ndata:  ")
    return b" " + text if text.startswith(b" ") else text


def _id_field(offset: str) -> bytes:
    if not offset.isprintable():
        raise ValueError(f"an offset is digits and an underscore, got {offset!r}")
    return b"id: " + offset.encode()


@lru_cache(maxsize=1024)
def _event_field(type: str) -> bytes:
    # Few types, many events: checked and encoded once.
    return b"" if type == DEFAULT_TYPE else b"\nevent: " + _checked(type).encode()


def _checked(text: str) -> str:
    if "\r" in text or "\n" in text or "\0" in text:
        raise ValueError(f"a line of an SSE frame can't hold CR, LF or NUL, got {text!r}")
    return text
