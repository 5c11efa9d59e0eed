"""The resuming reader against a server that fails on command: each event once, in order, in both dialects."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from streaming.client import (
    NOW,
    BadAnswer,
    GaveUp,
    ProblemAnswer,
    Reader,
    ReadEvent,
    Site,
    StreamGone,
    StreamMissing,
    UsageError,
)
from tests.support.deadlines import bound
from tests.support.flaky_server import Fault, FlakyServer, Stored, flaky_server

TEXT = "text/plain"
JSON = "application/json"


@pytest.fixture(params=["ours", "foreign"])
async def server(request: pytest.FixtureRequest) -> AsyncIterator[FlakyServer]:
    """A server of either dialect."""
    async with asyncio.timeout(bound(10)), flaky_server(speaks_ndjson=request.param == "ours") as server:
        fill(server)
        yield server


@pytest.fixture
async def ours() -> AsyncIterator[FlakyServer]:
    """A server that speaks our NDJSON."""
    async with asyncio.timeout(bound(10)), flaky_server() as server:
        fill(server)
        yield server


def fill(server: FlakyServer) -> None:
    """A text stream `s` and a JSON stream `j`, ten events each."""
    server.streams["s"] = Stored(TEXT, [("message", line) for line in lines(10)])
    server.streams["j"] = Stored(JSON, [("message", b'{"n":%d}' % number) for number in range(10)])


def lines(count: int) -> list[bytes]:
    """Numbered lines."""
    return [b"line %d\n" % number for number in range(count)]


def data(events: list[ReadEvent]) -> bytes:
    """All that was read."""
    return b"".join(event.data for event in events)


async def read(reader: Reader) -> list[ReadEvent]:
    """Read to the end, without heartbeats."""
    async with contextlib.aclosing(reader.events()) as events:
        return [event async for event in events if event is not None]


async def test_whole_stream_is_read_over_its_pages(server: FlakyServer) -> None:
    """Without following, the reader ends at the present end, however many pages that takes."""
    async with Site(server.url) as site:
        assert data(await read(Reader(site, "s", follow=False))) == b"".join(lines(10))
        values = [event.data for event in await read(Reader(site, "j", follow=False))]
    assert values == server.streams["j"].data


async def test_empty_stream_ends_at_once_without_following(server: FlakyServer) -> None:
    """An empty stream is an end, not an error."""
    server.streams["empty"] = Stored(JSON)
    async with Site(server.url) as site:
        assert await read(Reader(site, "empty", follow=False)) == []


async def test_following_ends_where_the_stream_is_closed(server: FlakyServer) -> None:
    """The end of a closed stream is the end of the reading, and the reader says so."""
    server.streams["j"].is_closed = True
    async with Site(server.url) as site:
        reader = Reader(site, "j")
        assert len(await read(reader)) == 10
    assert reader.is_closed


async def test_following_sees_what_is_appended_later(server: FlakyServer) -> None:
    """After the catch-up the reader waits, and gets what comes."""
    stream = server.streams["j"]
    async with Site(server.url) as site, contextlib.aclosing(Reader(site, "j").events()) as events:
        got: list[bytes] = []
        async for event in events:
            if event is not None:
                got.append(event.data)
            elif len(got) == 10:
                stream.events.append(("message", b"10"))
                stream.is_closed = True
                stream.changed.set()
                stream.changed = asyncio.Event()
    assert got == stream.data


@pytest.mark.parametrize("cut_after_lines", range(4))
async def test_cut_connection_resumes_behind_the_last_event(ours: FlakyServer, cut_after_lines: int) -> None:
    """However often it is cut, also in the middle of a line, nothing is missing and nothing comes twice."""
    ours.faults.extend([Fault("GET", cut_after_lines=cut_after_lines)] * 4)
    ours.streams["s"].is_closed = True
    async with Site(ours.url) as site:
        events = await read(Reader(site, "s"))
    assert [event.data for event in events] == lines(10)
    assert [event.offset for event in events] == sorted({event.offset for event in events})


async def test_dropped_page_is_read_again(server: FlakyServer) -> None:
    """A page whose answer is lost is asked for again from the same offset."""
    server.faults.extend(
        [Fault("GET"), Fault("GET", status=503, headers={"retry-after": "0"}), Fault("GET", takes=True)]
    )
    async with Site(server.url) as site:
        assert data(await read(Reader(site, "s", follow=False))) == b"".join(lines(10))


async def test_now_loses_nothing_that_comes_while_the_connection_is_down(server: FlakyServer) -> None:
    """`now` becomes an offset before the first read, so what is appended before a reconnect is still seen."""
    server.faults.append(Fault("GET"))
    stream = server.streams["j"]
    async with Site(server.url) as site:
        reader = Reader(site, "j", start=NOW)
        async with contextlib.aclosing(reader.events()) as events:
            reading = asyncio.ensure_future(anext(events))
            await server.came("GET")
            stream.events.append(("message", b"10"))
            event = await reading
            while event is None:
                event = await anext(events)
    assert event.data == b"10"


async def test_last_events_come_first_and_are_not_repeated(ours: FlakyServer) -> None:
    """`last` begins near the end, and a reconnect goes on from the last event, not from the tail again."""
    ours.streams["s"].is_closed = True
    ours.faults.append(Fault("GET", cut_after_lines=2))
    async with Site(ours.url) as site:
        events = await read(Reader(site, "s", last=4))
    assert [event.data for event in events] == lines(10)[6:]


async def test_last_of_an_empty_stream_keeps_all_that_comes(ours: FlakyServer) -> None:
    """Once the stream is known to be empty, a reconnect begins at its start and not at its last N events."""
    stream = ours.streams["empty"] = Stored(TEXT)
    async with Site(ours.url) as site, contextlib.aclosing(Reader(site, "empty", last=1).events()) as events:
        assert await anext(events) is None
        port = await ours.stop()
        stream.events += [("message", b"1"), ("message", b"2")]
        stream.is_closed = True
        await ours.start(port)
        assert [event.data async for event in events if event is not None] == [b"1", b"2"]


async def test_last_needs_our_server() -> None:
    """Another server would silently begin at the start, so the reader refuses."""
    async with flaky_server(speaks_ndjson=False) as server, Site(server.url) as site:
        fill(server)
        with pytest.raises(BadAnswer, match="extension"):
            await read(Reader(site, "s", last=4))


async def test_event_carries_what_our_server_says(ours: FlakyServer) -> None:
    """Offset, type and time come with each event of our own server."""
    ours.streams["s"].events = [("tick", b"x")]
    async with Site(ours.url) as site:
        (event,) = await read(Reader(site, "s", follow=False))
    assert event == ReadEvent(b"x", f"{1:016d}_{1:016d}", "tick", "2026-01-01T00:00:00.000Z")


async def test_missing_stream_is_said(server: FlakyServer) -> None:
    """A stream that is not there is not waited for."""
    async with Site(server.url) as site:
        with pytest.raises(StreamMissing):
            await read(Reader(site, "nope"))


async def test_offset_that_is_gone_ends_with_what_is_left(server: FlakyServer) -> None:
    """A 410 is an error of its own kind and carries where one can go on."""
    body = b'{"type":"/problems/offset-gone","detail":"gone","earliest_offset":"7"}'
    server.faults.append(Fault("GET", status=410, body=body))
    async with Site(server.url) as site:
        with pytest.raises(StreamGone) as caught:
            await read(Reader(site, "s"))
    assert caught.value.members["earliest_offset"] == "7"


async def test_bad_offset_is_said(server: FlakyServer) -> None:
    """A refusal that is not about the dialect is handed on."""
    server.faults.extend([Fault("GET", status=400, body=b'{"type":"/problems/bad-offset","detail":"no"}')] * 2)
    async with Site(server.url) as site:
        with pytest.raises(ProblemAnswer, match="bad-offset"):
            await read(Reader(site, "s", start="xyz"))


def answer(*lines: bytes) -> Fault:
    """A page of these lines instead of the server's."""
    headers = {"content-type": "application/x-ndjson", "stream-next-offset": "9", "stream-up-to-date": "true"}
    return Fault("GET", status=200, headers=headers, body=b"\n".join(lines) + b"\n")


async def test_damaged_event_is_reported_and_passed_over(ours: FlakyServer) -> None:
    """An in-band `event-corrupt` is counted, and the events behind it come."""
    ours.faults.append(
        answer(
            b'{"offset":"1","type":"message","time":"t","data":"a"}',
            b'{"offset":"2","error":{"type":"/problems/event-corrupt","status":500,"detail":"crc"}}',
            b'{"offset":"3","type":"message","time":"t","data":"c"}',
        )
    )
    async with Site(ours.url) as site:
        reader = Reader(site, "s", follow=False)
        assert data(await read(reader)) == b"ac"
    assert reader.damaged == 1


async def test_rewind_in_the_stream_ends_the_reading(ours: FlakyServer) -> None:
    """An in-band `stream-rewound` is never passed over."""
    ours.faults.append(answer(b'{"error":{"type":"/problems/stream-rewound","status":410,"detail":"went back"}}'))
    async with Site(ours.url) as site:
        with pytest.raises(StreamGone, match="went back"):
            await read(Reader(site, "s"))


async def test_binary_and_big_numbers_come_back_as_they_were(ours: FlakyServer) -> None:
    """base64 is undone, and a JSON value keeps every digit."""
    ours.streams["b"] = Stored("application/octet-stream")
    ours.faults.append(answer(b'{"offset":"1","type":"message","time":"t","data":"AP8=","encoding":"base64"}'))
    ours.faults.append(answer(b'{"offset":"1","type":"message","time":"t","data":1.00000000000000000000001e400}'))
    async with Site(ours.url) as site:
        assert data(await read(Reader(site, "b", follow=False))) == b"\x00\xff"
        assert data(await read(Reader(site, "j", follow=False))) == b"1.00000000000000000000001e400"


async def test_line_that_is_no_json_is_an_error(ours: FlakyServer) -> None:
    """What can't be read is said, not skipped."""
    ours.faults.append(answer(b"<html>"))
    async with Site(ours.url) as site:
        with pytest.raises(BadAnswer):
            await read(Reader(site, "s"))


async def test_server_that_stays_away_is_given_up_in_time() -> None:
    """With a timeout the reader ends when the server does not come back."""
    async with flaky_server() as server:
        fill(server)
        async with Site(server.url) as site:
            await server.stop()
            with pytest.raises(GaveUp):
                await read(Reader(site, "s", timeout_s=0.2))


async def test_offset_that_no_header_can_carry_is_refused() -> None:
    """A mistyped offset is found before anything is sent."""
    async with Site() as site:
        with pytest.raises(UsageError):
            Reader(site, "s", start="a\nb")
