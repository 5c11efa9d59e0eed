"""Bodies into events: by the stream's kind, within the limits, all or nothing."""

from __future__ import annotations

from typing import Any

import pytest

from streaming.conf import StreamingSettings
from streaming.errors import RequestError
from streaming.events import NewEvent
from streaming.log.appender import BINARY_SPLIT_BYTES, Appender
from streaming.log.log import Log
from tests.streaming.log.scene import create, read_all, refusal, texts

SETTINGS = StreamingSettings(max_event_bytes=BINARY_SPLIT_BYTES, max_append_events=4)


@pytest.fixture
def appender(one_log: Log) -> Appender:
    """With limits that a test can reach."""
    return Appender(one_log, SETTINGS)


def _data(events: list[NewEvent]) -> list[bytes]:
    return [event.data for event in events]


def _events(appender: Appender, body: bytes, content_type: str, **more: Any) -> list[bytes]:
    return _data(appender.events(body, content_type, more.pop("type", "message"), "", **more))


def test_json_array_is_flattened_and_kept_as_sent(appender: Appender) -> None:
    """One event a value, no digit of a big number lost."""
    body = b' [1.10, {"a" : 12345678901234567890123}, [2,3]] '
    expected = [b"1.10", b'{"a" : 12345678901234567890123}', b"[2,3]"]
    assert _events(appender, body, "application/json") == expected
    assert _events(appender, b"[]", "application/json", is_create=True) == []


def test_large_binary_body_is_split(appender: Appender) -> None:
    """The parts are the body."""
    body = bytes(range(256)) * (BINARY_SPLIT_BYTES // 100)
    parts = _events(appender, body, "application/octet-stream")
    assert b"".join(parts) == body
    assert max(map(len, parts)) == BINARY_SPLIT_BYTES


@pytest.mark.parametrize(
    ("body", "content_type", "type", "status", "slug"),
    [
        (b"[]", "application/json", "message", 400, "empty-array"),
        (b"{", "application/json", "message", 400, "bad-json"),
        (b"NaN", "application/json", "message", 400, "bad-json"),
        (b"[1,2,3,4,5]", "application/json", "message", 413, "too-large"),
        (b"\xff", "text/plain", "message", 400, "bad-text"),
        (b"x" * (BINARY_SPLIT_BYTES + 1), "text/plain", "message", 413, "too-large"),
        (b"x", "text/plain", "error", 400, "bad-event-type"),
        (b"x", "text/plain", "a\nb", 400, "bad-event-type"),
    ],
)
def test_bad_body_is_refused(
    appender: Appender, body: bytes, content_type: str, type: str, status: int, slug: str
) -> None:
    """The caller's mistake, by its own name."""
    with pytest.raises(RequestError) as caught:
        _events(appender, body, content_type, type=type)
    assert (caught.value.status, caught.value.slug) == (status, slug)


def test_ndjson_names_the_bad_line(appender: Appender) -> None:
    """All lines or none."""
    assert _data(appender.ndjson_events(b'1\n{"a":2}\r\n', "message", "")) == [b"1", b'{"a":2}']
    with pytest.raises(RequestError) as caught:
        appender.ndjson_events(b"1\n2\n{\n", "message", "")
    assert (caught.value.slug, caught.value.members) == ("bad-json", {"line": 3})


async def test_append_follows_the_streams_own_type(one_log: Log, appender: Appender, name: str) -> None:
    """Also when the name has become a stream of another type meanwhile."""
    await create(one_log, name)
    await appender.append(name, "größe", type="tick")
    await one_log.delete(name)
    await create(one_log, name, content_type="application/json")
    await appender.append(name, b'{"a": 1}')
    (event,) = await read_all(one_log, name)
    assert texts([event]) == ['{"a": 1}']
    assert (await refusal(appender.append(name, b"{"))).slug == "bad-json"
    assert (await refusal(appender.append(f"{name}/none", b"x"))).slug == "not-found"
