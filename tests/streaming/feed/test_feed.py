"""A feed wakes whoever waits, once, and keeps nothing of those who left."""

from __future__ import annotations

import asyncio

from streaming.events import Event
from streaming.feed.feed import Feed
from streaming.log.log import Log
from streaming.offsets import format_offset
from streaming.wire.content import ContentKind
from tests.streaming.log.scene import create
from tests.support.deadlines import bound


async def test_waiting_ends_with_a_change(one_log: Log, name: str) -> None:
    """A version that is old already does not wait at all."""
    await create(one_log, name)
    feed = Feed(name, 1000)
    waiting = [asyncio.create_task(feed.wait(feed.version, bound(2.0))) for _ in range(3)]
    await asyncio.sleep(0)
    assert feed.statistics().waiting == 3
    version = feed.version
    feed.begin(await one_log.state(name))
    assert await asyncio.gather(*waiting) == [True] * 3
    assert await feed.wait(version, 0.0)
    assert (feed.statistics().waiting, feed.is_ready, feed.kind) == (0, True, ContentKind.TEXT)


async def test_waiting_in_vain_leaves_nothing_behind() -> None:
    """Nor does a cancelled one."""
    feed = Feed("s", 1000)
    assert not await feed.wait(feed.version, 0.01)
    task = asyncio.create_task(feed.wait(feed.version, bound(2.0)))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert feed.statistics().waiting == 0


def test_closed_stays_closed() -> None:
    """A late push can't open it again."""
    feed = Feed("s", 1000)
    feed.extend([Event(format_offset(1, 1), "message", b"", 0)], is_closed=True)
    feed.extend([], is_closed=False)
    assert (feed.is_closed, feed.tail) == (True, format_offset(1, 1))
    feed.delete()
    assert feed.is_deleted
