"""A reader gets every event after its position once, from window or log, and is told why it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from streaming.ends import EndReason
from streaming.events import Event
from streaming.feed.follower import Follower
from streaming.feed.reader import FeedReader
from streaming.keys import StreamKeys
from streaming.log.log import Log
from tests.streaming.log.scene import MIB, append, create, open_log, raw, read_all, texts
from tests.support.deadlines import bound
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx


@pytest.fixture
async def follower(one_log: Log) -> AsyncIterator[Follower]:
    """A follower with a small window, so that readers fall out of it."""
    started = Follower(one_log, 4000, 20_000, 0.3)
    started.start()
    yield started
    await started.close()


def _reader(
    log: Log, follower: Follower, name: str, position: str, *, heartbeat_s: float = 30.0, max_s: float = 0.0
) -> FeedReader:
    return FeedReader(log, follower, name, position, 20_000, heartbeat_s, max_s)


async def _collect(reader: FeedReader, count: int = 10**9) -> list[Event]:
    """Read until the end, or until there are so many; each run is checked to say where it ends."""
    events: list[Event] = []
    async with asyncio.timeout(bound(4.0)), aclosing(reader.runs()) as runs:
        async for run in runs:
            if run is None:
                continue
            frames = run.frames("test", lambda event: event.data)
            assert list(frames) == [event.data for event in run.events]
            events += run.events
            if run.events:
                assert run.next_offset >= run.events[-1].offset
            if len(events) >= count:
                break
    return events


async def test_reader_gets_history_and_live_without_a_seam(one_log: Log, follower: Follower, name: str) -> None:
    """Started anywhere, while appends go on, larger than window and push: each event once, in order, to the end."""
    base = await create(one_log, name)

    async def publish() -> None:
        for n in range(150):
            await append(one_log, name, b"%04d" % n + b"x" * (n % 7 * 300))
            if n % 40 == 0:
                await append(one_log, name, b"large" + b"y" * 60_000)
        await append(one_log, name, close=True)

    publishing = asyncio.create_task(publish())
    readers = []
    for _ in range(8):
        readers.append(_reader(one_log, follower, name, base))
        await append(one_log, name, b"more")
    collected = await asyncio.gather(*(_collect(reader) for reader in readers))
    await publishing
    everything = await read_all(one_log, name)
    assert len(everything) == 150 + 4 + 8
    for events in collected:
        assert events == everything
    assert {reader.reason for reader in readers} == {EndReason.CLOSED}


async def test_reader_at_every_position_gets_the_rest(one_log: Log, follower: Follower, name: str) -> None:
    """In the window and before it."""
    base = await create(one_log, name)
    for n in range(30):
        await append(one_log, name, b"%d" % n + b"x" * 200)
    await append(one_log, name, close=True)
    everything = await read_all(one_log, name)
    positions = [base, *(event.offset for event in everything)]
    for index in (0, 1, 15, 29, 30):
        assert await _collect(_reader(one_log, follower, name, positions[index])) == everything[index:]


async def test_quiet_stream_gives_heartbeats_and_a_lifetime_ends(one_log: Log, follower: Follower, name: str) -> None:
    """None says that nothing came; the configured life is over in time."""
    tail = await create(one_log, name)
    reader = _reader(one_log, follower, name, tail, heartbeat_s=0.05, max_s=0.4)
    async with asyncio.timeout(bound(1.0)):
        runs = [run async for run in reader.runs()]
    assert runs.count(None) == len(runs) >= 3
    assert reader.reason is EndReason.LIFETIME


async def test_heartbeats_are_on_time_while_the_log_does_not_answer(
    one_server: RedisServer, one_log: Log, follower: Follower, name: str
) -> None:
    """A page may take its whole deadline; and it is what comes next, when it comes."""
    base = await create(one_log, name)
    await append(one_log, name, b"1", b"2")
    with Tcpx(("127.0.0.1", one_server.port or 0)) as proxy:
        async with open_log(proxy.redis_url, timeout_s=bound(4.0)) as log:
            await log.state(name)
            proxy.stall("down")
            reader = _reader(log, follower, name, base, heartbeat_s=0.2)
            async with asyncio.timeout(bound(4.0)), aclosing(reader.runs()) as runs:
                began = asyncio.get_running_loop().time()
                for _ in range(3):
                    assert await anext(runs) is None
                assert asyncio.get_running_loop().time() - began < 0.6 + bound(0.1)
                proxy.heal()
                while (run := await anext(runs)) is None:
                    pass
                assert texts(list(run.events)) == ["1", "2"]


async def test_draining_ends_every_reader(one_log: Log, follower: Follower, name: str) -> None:
    """At once, though nothing comes."""
    tail = await create(one_log, name)
    readers = [_reader(one_log, follower, name, tail) for _ in range(3)]
    tasks = [asyncio.create_task(_collect(reader)) for reader in readers]
    async with asyncio.timeout(bound(1.0)):
        while not follower.feeds or follower.feeds[0].statistics().waiting < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    follower.drain()
    await asyncio.gather(*tasks)
    assert {reader.reason for reader in readers} == {EndReason.DRAINED}


async def test_deleted_stream_ends_with_a_problem(one_log: Log, follower: Follower, name: str) -> None:
    """Readers are told, not left waiting."""
    tail = await create(one_log, name)
    reader = _reader(one_log, follower, name, tail)
    task = asyncio.create_task(_collect(reader, 1))
    await append(one_log, name, b"x")
    await task
    reader = _reader(one_log, follower, name, tail)
    task = asyncio.create_task(_collect(reader))
    await asyncio.sleep(0.02)
    await one_log.delete(name)
    await task
    assert reader.reason is EndReason.DELETED
    assert reader.problem is not None
    assert (reader.problem.status, reader.problem.slug) == (410, "stream-gone")


async def test_rewound_log_is_told_to_who_holds_a_lost_offset(one_log: Log, follower: Follower, name: str) -> None:
    """The events that it had are gone from the log: an in-band problem with where to go on, never silence."""
    await create(one_log, name)
    kept = (await append(one_log, name, b"kept")).offset
    keys = StreamKeys.of(name)
    sequence = await raw(one_log, name, "HGET", keys.state, "q")
    reader = _reader(one_log, follower, name, kept)
    task = asyncio.create_task(_collect(reader))
    lost = (await append(one_log, name, b"lost")).offset
    async with asyncio.timeout(bound(1.0)):
        while reader.position != lost:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    generation, number = lost.split("_")
    await raw(one_log, name, "XDEL", keys.entries, f"{int(generation)}-{int(number)}")
    await raw(one_log, name, "HSET", keys.state, "q", sequence, "count", 1, "incarnation", "another")
    assert texts(await task) == ["lost"]
    assert reader.reason is EndReason.REWOUND
    assert reader.problem is not None
    assert reader.problem.slug == "stream-rewound"
    assert reader.problem.members["tail_offset"] == kept


async def test_removed_events_are_told(one_log: Log, follower: Follower, name: str) -> None:
    """Retention took what this reader would have had next."""
    base = await create(one_log, name, retention="count=2")
    for n in range(9):
        await append(one_log, name, b"%d" % n)
    reader = _reader(one_log, follower, name, base)
    assert await _collect(reader) == []
    assert reader.reason is EndReason.REMOVED


async def test_large_events_arrive_live(one_log: Log, follower: Follower, name: str) -> None:
    """Larger than a push and than the window."""
    tail = await create(one_log, name)
    reader = _reader(one_log, follower, name, tail)
    task = asyncio.create_task(_collect(reader, 3))
    await asyncio.sleep(0.02)
    for n in range(3):
        await append(one_log, name, b"%d" % n * MIB)
    assert [event.data[:1] for event in await task] == [b"0", b"1", b"2"]


async def test_reader_that_leaves_is_forgotten(one_log: Log, follower: Follower, name: str) -> None:
    """Cancelled while it waits: no reader, no future, no task of its own is left."""
    tail = await create(one_log, name)
    tasks_before = len(asyncio.all_tasks())
    task = asyncio.create_task(_collect(_reader(one_log, follower, name, tail)))
    async with asyncio.timeout(bound(1.0)):
        while not follower.feeds or not follower.feeds[0].statistics().waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    statistics = follower.feeds[0].statistics()
    assert (statistics.readers, statistics.waiting) == (0, 0)
    assert len(asyncio.all_tasks()) == tasks_before
