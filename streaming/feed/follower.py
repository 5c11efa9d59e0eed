"""The follower: one subscription connection carries every stream that this process follows.

A push is a hint, the log is the truth. Each push names the offset before it; where that is not a feed's tail, after every
(re)subscription once the server has confirmed it, and every few seconds for streams in which nothing seems to happen, the
feed is compared with the log and what is missing is read from there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.exceptions import RedisError, ResponseError

from observability import metrics
from streaming.errors import RequestError, StoreError
from streaming.feed.feed import Feed
from streaming.feed.push import Push, parse_push
from streaming.keys import StreamKeys, name_from_channel
from streaming.log.listing import states_of
from streaming.log.log import Log
from streaming.store import Connection
from streaming.tasks import own_task

__all__ = ["Follower"]

LINGER_S = 5.0
"""How long a feed without readers is kept: a page that is reloaded finds it warm."""
PING_EVERY_S = 1.0
SILENCE_S = 3.0
"""Without any answer for so long, the connection is dead, whatever TCP thinks."""
RETRY_MAX_S = 1.0
TICK_S = 0.25
_EXPECTED = frozenset({"large", "push"})
"""Causes of a fill that are no gap: the push told of the events, and left them to the log."""

logger = logging.getLogger("streamsite.feed")


class Follower:
    """Keeps a feed for every stream that somebody follows.

    Owns its tasks from `start` to `close`.

    Args:
        log: to read what pushes don't tell.
        window_bytes, page_bytes: bounds of a feed's window and of one read.
        head_check_s: between looks at a stream's tail.
    """

    def __init__(self, log: Log, window_bytes: int, page_bytes: int, head_check_s: float) -> None:
        self._log = log
        self._window_bytes = window_bytes
        self._page_bytes = page_bytes
        self._head_check_s = head_check_s
        self._feeds: dict[str, Feed] = {}
        self._fills: dict[Feed, asyncio.Task[None]] = {}
        self._dirty: dict[Feed, str] = {}
        """Feeds that are being filled and have to be filled again, with the cause."""
        self._connection: Connection | None = None
        self._heard_mono = 0.0
        self._pinged_mono = 0.0
        self._checked_mono = 0.0
        self._check: asyncio.Task[None] | None = None
        self._touched_mono: dict[str, float] = {}
        self._idle_since_mono: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._drain_mono = 0.0
        self._spread_s = 0.0
        self.is_draining = False

    @property
    def feeds(self) -> list[Feed]:
        """Everything that is followed now."""
        return list(self._feeds.values())

    def start(self) -> None:
        """Begin; call once, in the loop that it shall live in."""
        self._tasks = [own_task(self._listen(), "follower"), own_task(self._tick(), "follower-tick")]

    @asynccontextmanager
    async def follow(self, name: str, timeout_s: float) -> AsyncIterator[Feed]:
        """Follow a stream; the feed holds everything that is appended from now on.

        Raises: RequestError: there is no such stream. StoreError: Redis did not confirm in time.
        """
        feed, is_new = self._feeds.get(name), False
        if feed is None:
            feed = self._feeds[name] = Feed(name, self._window_bytes)
            metrics.feeds.set(len(self._feeds))
            is_new = True
        feed.readers += 1
        self._idle_since_mono.pop(name, None)
        try:
            if is_new:
                await self._subscribe([name])
            deadline = time.monotonic() + timeout_s
            while not feed.is_ready and not feed.is_deleted:
                if self.is_draining:
                    raise StoreError(503, "draining", "this process is stopping")
                if (left := deadline - time.monotonic()) <= 0:
                    raise StoreError(503, "store-unavailable", "following the stream: Redis did not confirm in time")
                await feed.wait(feed.version, left)
            yield feed
        finally:
            feed.readers -= 1
            if feed.readers == 0:
                self._idle_since_mono[name] = time.monotonic()

    def drain(self, spread_s: float = 0.0) -> None:
        """Let every reader end, spread over the next seconds, so that they don't all come back at once elsewhere."""
        if not self.is_draining:
            self._drain_mono, self._spread_s = time.monotonic(), spread_s
        self.is_draining = True
        for feed in self._feeds.values():
            feed.wake()

    def leave_mono(self, share: float) -> float:
        """When a reader has to leave; never, as long as nothing drains.

        Args:
            share: of the reader in the spread, from 0 to 1.
        """
        return self._drain_mono + share * self._spread_s if self.is_draining else float("inf")

    async def close(self) -> None:
        """End the tasks and the connection."""
        self._spread_s = 0.0
        self.drain()
        tasks = [*self._tasks, *self._fills.values()]
        if self._check is not None:
            tasks.append(self._check)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        metrics.readers_degraded.set(0)
        if self._connection is not None:
            await self._connection.close()

    # The subscription

    async def _listen(self) -> None:
        delay_s = 0.05
        while True:
            try:
                self._connection = await self._log.store.shards[0].connect()
                self._heard_mono = time.monotonic()
                delay_s = 0.05
                await self._subscribe(list(self._feeds))
                while True:
                    message = await self._connection.receive()
                    self._heard_mono = time.monotonic()
                    if isinstance(message, ResponseError):
                        raise message
                    self._on_message(message)
            except (OSError, RedisError, TimeoutError, StoreError) as error:
                logger.info("follower.lost", extra={"error": str(error) or type(error).__name__})
            except Exception:
                # A fault of ours must not end live delivery for the life of the process.
                logger.exception("follower.failed")
            finally:
                connection, self._connection = self._connection, None
                if connection is not None:
                    connection.abort()
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_MAX_S)
            if self._log.store.is_cluster:
                await self._find_cluster()

    async def _find_cluster(self) -> None:
        try:
            await self._log.store.refresh_cluster(2.0)
        except StoreError as error:
            logger.debug("follower.cluster", extra={"error": str(error)})

    async def _subscribe(self, names: list[str]) -> None:
        if self._connection is None or not names:
            return
        try:
            await self._connection.send("SUBSCRIBE", *(StreamKeys.of(name).channel for name in names))
        except (OSError, RedisError):
            self._connection.abort()

    def _on_message(self, message: bytes | list[bytes]) -> None:
        if isinstance(message, bytes) or len(message) < 3:
            return  # a pong, in the form that it has with or without subscriptions
        kind = message[0]
        name = name_from_channel(message[1].decode())
        feed = self._feeds.get(name)
        if feed is None:
            return
        if kind == b"subscribe":
            # Only now is it certain that no push is missed: what came before is in the log.
            self._fill_soon(feed, "subscribe")
        elif kind == b"message":
            try:
                push = parse_push(message[2])
            except ValueError as error:
                logger.warning("follower.bad_push", extra={"stream": name, "error": str(error)})
                self._fill_soon(feed, "hole")
            else:
                self._on_push(feed, push)

    def _on_push(self, feed: Feed, push: Push) -> None:
        if push.is_deleted:
            # The name may have been created anew since: the log knows.
            self._fill_soon(feed, "delete")
        elif feed in self._fills:
            self._dirty.setdefault(feed, "push")
        elif not feed.is_ready:
            self._fill_soon(feed, "subscribe")
        elif push.before == feed.tail and push.events is not None:
            feed.extend(push.events, is_closed=push.is_closed)
        elif push.tail > feed.tail or push.is_closed:
            self._fill_soon(feed, "large" if push.before == feed.tail else "hole")

    # What is missing

    def _fill_soon(self, feed: Feed, cause: str) -> None:
        if feed in self._fills:
            self._dirty[feed] = cause
            return
        self._fills[feed] = own_task(self._fill(feed, cause), "follower-fill")

    async def _fill(self, feed: Feed, cause: str) -> None:
        """Bring a feed to the log's tail; go on until no push came meanwhile that could have been missed."""
        try:
            delay_s = 0.05
            while self._feeds.get(feed.name) is feed:
                self._dirty.pop(feed, None)
                try:
                    await self._fill_once(feed, cause)
                except RequestError as error:
                    logger.info("feed.gone", extra={"stream": feed.name, "problem": error.slug})
                    self._forget(feed)
                    feed.delete()
                except StoreError:
                    await asyncio.sleep(delay_s)
                    delay_s = min(delay_s * 2, RETRY_MAX_S)
                    if cause in _EXPECTED:
                        cause = "hole"  # what comes while Redis is away, nobody pushes
                    continue
                if feed not in self._dirty:
                    return
                cause = self._dirty[feed]
        finally:
            self._fills.pop(feed, None)
            self._dirty.pop(feed, None)

    async def _fill_once(self, feed: Feed, cause: str) -> None:
        if not feed.is_ready:
            feed.begin(await self._log.state(feed.name))
            return
        found = 0
        while True:
            try:
                page = await self._log.read(feed.name, feed.tail, self._page_bytes, touch=False)
            except RequestError as error:
                if error.slug not in ("stream-rewound", "offset-gone", "bad-offset"):
                    raise
                state = await self._log.state(feed.name)
                if error.slug != "offset-gone":
                    metrics.log_rewinds.inc()
                    logger.warning(
                        "log.rewound", extra={"stream": feed.name, "old_tail": feed.tail, "new_tail": state.tail_offset}
                    )
                feed.begin(state)
                return
            found += len(page.events)
            if page.events or page.state.is_closed != feed.is_closed:
                feed.extend(page.events, is_closed=page.is_end)
            if page.is_up_to_date:
                break
        if found and cause not in _EXPECTED:
            metrics.follower_gaps.labels(cause).inc()
            metrics.follower_gap_events.inc(found)
            logger.info("follower.gap", extra={"stream": feed.name, "cause": cause, "events": found})

    # Time

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self._tick_once(time.monotonic())
            except Exception:
                # Without ticks nothing would ever notice a hole or a dead connection again.
                logger.exception("follower.tick_failed")

    async def _tick_once(self, now: float) -> None:
        is_up = self._log.store.is_up
        metrics.readers_degraded.set(0 if is_up else sum(feed.readers for feed in self._feeds.values()))
        connection = self._connection
        if connection is not None and now - self._heard_mono > SILENCE_S:
            self._log.store.note_failure(TimeoutError("the subscription is silent"))
            connection.abort()
        elif connection is not None and now - self._pinged_mono >= PING_EVERY_S:
            self._pinged_mono = now
            await self._ping(connection)
        await self._drop_idle(now)
        self._touch(now)
        if now - self._checked_mono >= self._head_check_s and (self._check is None or self._check.done()):
            self._checked_mono = now
            # Beside the ticks: it may take as long as a read may, and a silent connection is to be noticed meanwhile.
            self._check = own_task(self._check_heads(), "follower-heads")

    @staticmethod
    async def _ping(connection: Connection) -> None:
        try:
            async with asyncio.timeout(PING_EVERY_S):
                await connection.send("PING")
        except (OSError, RedisError, TimeoutError):
            connection.abort()

    async def _drop_idle(self, now: float) -> None:
        for name, since in list(self._idle_since_mono.items()):
            if now - since < LINGER_S:
                continue
            self._idle_since_mono.pop(name, None)
            feed = self._feeds.get(name)
            if feed is not None and feed.readers:
                continue
            if feed is not None:
                self._forget(feed)
            if self._connection is not None:
                try:
                    await self._connection.send("UNSUBSCRIBE", StreamKeys.of(name).channel)
                except (OSError, RedisError):
                    self._connection.abort()

    def _forget(self, feed: Feed) -> None:
        if self._feeds.get(feed.name) is feed:
            del self._feeds[feed.name]
        self._touched_mono.pop(feed.name, None)
        metrics.feeds.set(len(self._feeds))

    def _touch(self, now: float) -> None:
        """A connected live reader counts as reading."""
        for feed in self._feeds.values():
            if feed.ttl_s >= 0 and feed.readers and now - self._touched_mono.get(feed.name, -1e9) >= feed.ttl_s / 4:
                self._touched_mono[feed.name] = now
                self._log.touch(feed.name, feed.ttl_s)

    async def _check_heads(self) -> None:
        """Find holes that no later push has shown, by asking the log for every feed's tail."""
        feeds = [feed for feed in self._feeds.values() if feed.is_ready and feed not in self._fills]
        try:
            states = await states_of(self._log, [feed.name for feed in feeds])
        except StoreError as error:
            logger.debug("follower.check", extra={"error": str(error)})
            return
        for feed, state in zip(feeds, states, strict=True):
            if state is None or (state.tail_offset, state.is_closed) != (feed.tail, feed.is_closed):
                self._fill_soon(feed, "idle")
