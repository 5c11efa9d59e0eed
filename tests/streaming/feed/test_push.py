"""What the scripts publish is what the follower reads."""

from __future__ import annotations

import pytest

from streaming.errors import StreamsiteError
from streaming.events import NewEvent
from streaming.feed.push import Push, parse_push
from streaming.keys import StreamKeys
from streaming.log.group_commit import MAX_PUSH_BYTES
from streaming.log.log import Log
from streaming.log.outcome import AppendRequest
from tests.streaming.log.scene import append, create, raw, read_all
from tests.support.deadlines import bound


async def _pushes(log: Log, name: str, *appends: AppendRequest, delete: bool = False) -> list[Push]:
    """Subscribe as the follower does, append, and take what comes."""
    keys = StreamKeys.of(name)
    async with log.store.shards[0].connection(bound(2.0), "test") as connection:
        await connection.send("SUBSCRIBE", keys.channel)
        assert (await connection.receive())[0] == b"subscribe"
        for request in appends:
            await log.append(name, request)
        if delete:
            await log.delete(name)
        found = [parse_push((await connection.receive())[2]) for _ in range(len(appends) + delete)]
        await connection.call("UNSUBSCRIBE")
        return found


async def test_push_holds_what_was_appended(log: Log, name: str) -> None:
    """Every event as the log has it, hostile bytes too, and the chain of tails without a hole."""
    base = await create(log, name)
    hostile = [
        NewEvent(b"a\nb\r\n\0 \xff", "größe type", "request-1", "00-ab-cd-01"),
        NewEvent(b""),
        NewEvent(b"1 2 3 4\n", "x" * 128),
    ]
    first, second = await _pushes(
        log, name, AppendRequest(hostile, "text/plain"), AppendRequest([NewEvent(b"z")], "text/plain", close=True)
    )
    assert [*(first.events or ()), *(second.events or ())] == await read_all(log, name)
    assert (first.before, first.tail) == (base, second.before)
    assert (first.is_closed, second.is_closed, second.is_deleted) == (False, True, False)


async def test_close_and_deletion_are_pushed(log: Log, name: str) -> None:
    """Without events."""
    await create(log, name)
    closed, deleted = await _pushes(log, name, AppendRequest([], "", close=True), delete=True)
    assert (closed.is_closed, closed.events, closed.before) == (True, [], closed.tail)
    assert (deleted.is_deleted, deleted.is_closed) == (True, False)


async def test_large_append_travels_as_its_offset(log: Log, name: str) -> None:
    """A subscriber that lags is cut off by Redis: what is large is read from the log."""
    await create(log, name)
    small, large = await _pushes(
        log,
        name,
        AppendRequest([NewEvent(b"x" * (MAX_PUSH_BYTES - 100))], "text/plain"),
        AppendRequest([NewEvent(b"y"), NewEvent(b"x" * MAX_PUSH_BYTES)], "text/plain"),
    )
    assert small.events is not None
    assert large.events is None
    assert large.tail == (await log.state(name)).tail_offset


async def test_refused_append_pushes_nothing(log: Log, name: str) -> None:
    """Nor does a duplicate."""
    await create(log, name)
    keys = StreamKeys.of(name)
    async with log.store.shards[0].connection(bound(2.0), "test") as connection:
        await connection.send("SUBSCRIBE", keys.channel)
        await connection.receive()
        await append(log, name, b"1", producer=("p", 0, 0))
        await connection.receive()  # a Cluster's other nodes hear it later
        with pytest.raises(StreamsiteError):
            await append(log, name, b"x", producer=("p", 0, 9))
        await append(log, name, b"1", producer=("p", 0, 0))
        await append(log, name, b"2")
        push = parse_push((await connection.receive())[2])
        await connection.call("UNSUBSCRIBE")
    assert [event.data for event in push.events or ()] == [b"2"]


async def test_damaged_push_is_told(one_log: Log, name: str) -> None:
    """The checksum travels too."""
    await create(one_log, name)
    (push,) = await _pushes(one_log, name, AppendRequest([NewEvent(b"good")], "text/plain"))
    assert push.events is not None
    assert not push.events[0].is_corrupt
    assert await raw(one_log, name, "PING") == b"PONG"
    payload = f"{push.before} {push.tail} open 1 1\n1 7 0 0 4 {NewEvent(b'good').checksum}\nmessagegooe".encode()
    events = parse_push(payload).events
    assert events is not None
    assert events[0].is_corrupt
