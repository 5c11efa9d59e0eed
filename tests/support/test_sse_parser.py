"""The parser that the encoders are measured with, against the examples of the specification."""

from __future__ import annotations

import pytest

from .sse_parser import SseEvent, SseParser, parse_sse

EXAMPLES = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [SseEvent("message", "YHOO\n+2\n10", "")]),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [SseEvent("message", "first event", "1"), SseEvent("message", "second event", "")],
    ),
    (b"data\n\ndata\ndata\n\ndata:", [SseEvent("message", "", ""), SseEvent("message", "\n", "")]),
    (b"data:test\n\ndata: test\n\n", [SseEvent("message", "test", ""), SseEvent("message", "test", "")]),
    (b"event: add\r\ndata: 73857293\r\n\r\n", [SseEvent("add", "73857293", "")]),
    (
        b"\xef\xbb\xbfdata: a\r\rdata: \xef\xbb\xbfb\r\r",
        [SseEvent("message", "a", ""), SseEvent("message", "\ufeffb", "")],
    ),
    (b"id: 1\nevent: only\n\ndata: x\n\n", [SseEvent("message", "x", "1")]),
    (b"id: 1\ndata: x\n\nid: 2\0\ndata: y\n\n", [SseEvent("message", "x", "1"), SseEvent("message", "y", "1")]),
    ("data: a\u2028b\x85c\n\n".encode(), [SseEvent("message", "a\u2028b\x85c", "")]),
]


@pytest.mark.parametrize(("stream", "expected"), EXAMPLES)
def test_example_of_specification_is_parsed_as_it_says(stream: bytes, expected: list[SseEvent]) -> None:
    """The parser does what the specification's examples say, line ends, byte order mark and NUL included."""
    assert parse_sse(stream) == expected


@pytest.mark.parametrize(("stream", "expected"), EXAMPLES)
def test_stream_in_single_bytes_is_parsed_as_whole(stream: bytes, expected: list[SseEvent]) -> None:
    """Where the network cuts the stream makes no difference."""
    parser = SseParser()
    assert [event for byte in stream for event in parser.feed(bytes([byte]))] == expected


def test_retry_and_comments_are_kept_apart_from_events() -> None:
    """A delay and a comment reach the parser's owner, and dispatch nothing."""
    parser = SseParser()
    assert parser.feed(b"retry: 2000\n\n: heartbeat\n\nretry: soon\n\n") == []
    assert (parser.retry_ms, parser.comments) == (2000, ["heartbeat"])
