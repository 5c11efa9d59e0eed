"""The follower: whatever happens to its pushes, its feeds hold what the log holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis

from observability import metrics
from streaming.errors import StoreError
from streaming.events import Event
from streaming.feed import follower as follower_module
from streaming.feed.feed import Feed
from streaming.feed.follower import Follower
from streaming.keys import StreamKeys
from streaming.log.log import Log
from streaming.log.state import StreamState
from tests.streaming.log.scene import MIB, append, create, open_log, raw, texts
from tests.support.deadlines import bound
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx


@asynccontextmanager
async def _following(log: Log, head_check_s: float = 60.0) -> AsyncIterator[Follower]:
    follower = Follower(log, MIB, MIB, head_check_s)
    follower._checked_mono = time.monotonic()  # else the first look is due at once, and finds what the test hides
    follower.start()
    try:
        yield follower
    finally:
        await follower.close()
        names = {task.get_name() for task in asyncio.all_tasks() if not task.done()}
        assert not names & {"follower", "follower-tick", "follower-fill"}


@pytest.fixture
def proxy(one_server: RedisServer) -> Iterator[Tcpx]:
    """A proxy that can break the subscription alone."""
    with Tcpx(("127.0.0.1", one_server.port or 0), marks=[b"SUBSCRIBE"]) as started:
        yield started


async def _until(feed: Feed, *data: str, within_s: float = 2.0) -> list[Event]:
    """Wait until a feed's window holds exactly these data."""
    async with asyncio.timeout(bound(within_s)):
        while True:
            version = feed.version
            events = list(feed.window.events(0, 10**9))
            if texts(events) == list(data):
                return events
            await feed.wait(version, bound(within_s))


async def _agrees(log: Log, feed: Feed) -> StreamState:
    state = await log.state(feed.name)
    assert (feed.tail, feed.is_closed) == (state.tail_offset, state.is_closed)
    return state


async def test_feed_begins_at_the_tail_and_grows_with_pushes(log: Log, name: str) -> None:
    """Every append from now on is there, in order, on every server."""
    await create(log, name)
    await append(log, name, b"before")
    async with _following(log) as follower, follower.follow(name, bound(2.0)) as feed:
        await _agrees(log, feed)
        await asyncio.gather(*(append(log, name, b"%d" % n) for n in range(20)))
        await _until(feed, *map(str, range(20)))
        await append(log, name, b"x" * 100_000)
        await append(log, name, b"last", close=True)
        await _until(feed, *map(str, range(20)), "x" * 100_000, "last")
        await _agrees(log, feed)
        assert feed.is_closed


async def test_two_readers_share_one_feed(one_log: Log, name: str) -> None:
    """A second one subscribes to nothing."""
    await create(one_log, name)
    async with _following(one_log) as follower:
        async with follower.follow(name, bound(2.0)) as first, follower.follow(name, bound(2.0)) as second:
            assert first is second
            assert first.statistics().readers == 2
        assert first.statistics().readers == 0


async def test_stream_that_is_not_there_ends_its_readers(one_log: Log, name: str) -> None:
    """At once, not after a timeout; created afterwards it can be followed."""
    async with _following(one_log) as follower:
        async with follower.follow(name, bound(2.0)) as feed:
            assert feed.is_deleted
        await create(one_log, name)
        async with follower.follow(name, bound(2.0)) as feed:
            await append(one_log, name, b"x")
            await _until(feed, "x")


async def test_cut_subscription_is_made_again_and_the_gap_filled(
    own_server: RedisServer, own_log: Log, name: str
) -> None:
    """CLIENT KILL TYPE pubsub: what was appended meanwhile is read from the log, once."""
    await create(own_log, name)
    async with _following(own_log) as follower, follower.follow(name, bound(2.0)) as feed:
        for n in range(5):
            with redis.Redis.from_url(own_server.url) as client:
                client.client_kill_filter(_type="pubsub")
            await append(own_log, name, b"%d" % n)
        await _until(feed, *map(str, range(5)))
        await append(own_log, name, b"live")
        await _until(feed, *map(str, range(5)), "live")


async def test_hole_shows_with_the_next_push(own_log: Log, name: str) -> None:
    """A push was lost (here: never sent); the next one names an offset that the feed has not."""
    await create(own_log, name)
    async with _following(own_log) as follower, follower.follow(name, bound(2.0)) as feed:
        await append(own_log, name, b"1")
        await _until(feed, "1")
        before = metrics.follower_gaps.labels("hole")._value.get()
        connection = follower._connection
        assert connection is not None
        await connection.send("UNSUBSCRIBE", StreamKeys.of(name).channel)
        await raw(own_log, name, "PING")
        await append(own_log, name, b"2")
        await _resubscribed_quietly(follower, own_log, name)
        await append(own_log, name, b"3")
        await _until(feed, "1", "2", "3")
        assert metrics.follower_gaps.labels("hole")._value.get() == before + 1


async def _resubscribed_quietly(follower: Follower, log: Log, name: str) -> None:
    """Subscribe without the follower noticing that it did."""
    fill_soon = follower._fill_soon
    subscribed = asyncio.Event()
    follower._fill_soon = lambda feed, cause: subscribed.set()  # type: ignore[method-assign]
    try:
        await follower._subscribe([name])
        async with asyncio.timeout(bound(1.0)):
            await subscribed.wait()
    finally:
        follower._fill_soon = fill_soon  # type: ignore[method-assign]


async def test_idle_hole_is_found_by_looking(own_log: Log, name: str) -> None:
    """No later push shows it: the head check does."""
    await create(own_log, name)
    async with _following(own_log, head_check_s=0.3) as follower, follower.follow(name, bound(2.0)) as feed:
        connection = follower._connection
        assert connection is not None
        await connection.send("UNSUBSCRIBE", StreamKeys.of(name).channel)
        await raw(own_log, name, "PING")
        await append(own_log, name, b"unseen", close=True)
        await _until(feed, "unseen")
        assert feed.is_closed


async def test_silent_subscription_is_given_up(
    proxy: Tcpx, one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCP thinks that all is well, but no ping is answered: a new connection is made."""
    monkeypatch.setattr(follower_module, "SILENCE_S", 0.6)
    monkeypatch.setattr(follower_module, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(follower_module, "TICK_S", 0.05)
    await create(one_log, name)
    async with open_log(proxy.redis_url) as log, _following(log) as follower, follower.follow(name, bound(2.0)) as feed:
        first = follower._connection
        proxy.stall("down", only=b"SUBSCRIBE")
        await append(one_log, name, b"unseen")
        async with asyncio.timeout(bound(2.0)):
            while follower._connection is first:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        proxy.heal()
        await _until(feed, "unseen")


async def test_deleted_stream_ends_its_readers(log: Log, name: str) -> None:
    """The deletion is pushed; a stream that was created anew is another feed."""
    await create(log, name)
    async with _following(log) as follower:
        async with follower.follow(name, bound(2.0)) as feed:
            await log.delete(name)
            async with asyncio.timeout(bound(1.0)):
                while not feed.is_deleted:
                    await feed.wait(feed.version, 1.0)
        await create(log, name)
        async with follower.follow(name, bound(2.0)) as anew:
            assert anew is not feed
            await append(log, name, b"new")
            await _until(anew, "new")


async def test_restarted_server_is_followed_again(own_server: RedisServer, own_log: Log, name: str) -> None:
    """Nobody leaves; what comes after is in a new generation of the same feed."""
    await create(own_log, name)
    async with _following(own_log) as follower, follower.follow(name, bound(2.0)) as feed:
        await append(own_log, name, b"1")
        await _until(feed, "1")
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.start)
        async with asyncio.timeout(bound(2.0)):
            while True:
                try:
                    await append(own_log, name, b"2", producer=("p", 0, 0))
                    break
                except StoreError:
                    await asyncio.sleep(0.02)
        await _until(feed, "1", "2")


async def test_rewound_log_begins_the_feed_anew(own_log: Log, name: str) -> None:
    """The tail that the feed has is no longer in the log: its window is not to be trusted."""
    await create(own_log, name)
    await append(own_log, name, b"kept")
    keys = StreamKeys.of(name)
    sequence = await raw(own_log, name, "HGET", keys.state, "q")
    async with _following(own_log, head_check_s=0.2) as follower, follower.follow(name, bound(2.0)) as feed:
        lost = (await append(own_log, name, b"lost")).offset
        await _until(feed, "lost")
        ((entry_id, _),) = await raw(own_log, name, "XREVRANGE", keys.entries, "+", "-", "COUNT", 1)
        await raw(own_log, name, "XDEL", keys.entries, entry_id)
        await raw(own_log, name, "HSET", keys.state, "q", sequence, "count", 1, "incarnation", "another")
        await _until(feed)
        assert feed.tail < lost
        await append(own_log, name, b"new")
        await _until(feed, "new")
        assert feed.window.index_after(lost) is None


async def test_feed_without_readers_lingers_and_goes(one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its subscription, also when its stream was deleted."""
    monkeypatch.setattr(follower_module, "LINGER_S", 0.1)
    monkeypatch.setattr(follower_module, "TICK_S", 0.02)
    await create(one_log, name)
    channels = [StreamKeys.of(each).channel for each in (name, f"{name}/none")]
    async with _following(one_log) as follower:
        async with follower.follow(name, bound(2.0)), follower.follow(f"{name}/none", bound(2.0)):
            assert len(follower.feeds) == 1
        async with asyncio.timeout(bound(2.0)):
            while follower.feeds or (await raw(one_log, name, "PUBSUB", "NUMSUB", *channels))[1::2] != [0, 0]:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_cancelled_follow_leaves_no_feed_for_ever(
    one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it subscribes: the feed has no reader and goes as any other."""
    monkeypatch.setattr(follower_module, "LINGER_S", 0.1)
    monkeypatch.setattr(follower_module, "TICK_S", 0.02)
    await create(one_log, name)
    async with _following(one_log) as follower:
        subscribing = asyncio.Event()

        async def subscribe(names: list[str]) -> None:
            subscribing.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(follower, "_subscribe", subscribe)

        async def follow() -> None:
            async with follower.follow(name, bound(2.0)):
                pass

        task = asyncio.create_task(follow())
        await subscribing.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(bound(1.0)):
            while follower.feeds:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


async def test_follow_without_redis_gives_up_in_time(own_server: RedisServer, own_log: Log, name: str) -> None:
    """The caller is told, and may try again."""
    await asyncio.to_thread(own_server.kill)
    async with _following(own_log) as follower:
        with pytest.raises(StoreError, match="did not confirm in time"):
            async with follower.follow(name, 0.2):
                pass
