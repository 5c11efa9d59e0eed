"""Group commit: appends that wait together travel together.

While one group is on its way to Redis, what arrives forms the next one: the latency of one round trip, the throughput of
many. A group is one script call for each stream, so each stream's part is taken or refused whole, and in order. The
connection is used for nothing else: `WAIT` and `WAITAOF` speak of what their own connection wrote.

An append is never sent twice. What became of one whose reply did not come, is said to be unknown.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError, RedisError, ResponseError

from observability import metrics
from streaming import failpoints
from streaming.durability import WRITTEN, Durability
from streaming.errors import StoreError, StreamsiteError
from streaming.keys import StreamKeys
from streaming.log import scripts
from streaming.log.outcome import Appended, AppendRequest
from streaming.log.refusals import append_refused, is_moved, store_refused
from streaming.store import Connection, Shard, Store
from streaming.tasks import own_task

__all__ = ["GroupCommit", "OtherDurabilityError"]

MAX_GROUP_BYTES = 8 * 1024 * 1024
"""One group; Redis does nothing else while it runs the script."""
MAX_QUEUED_BYTES = 64 * 1024 * 1024
MAX_QUEUED = 20_000
MAX_PUSH_BYTES = 16 * 1024
"""Events of a stream's part that travel in the push; a subscriber that lags is cut off at 32 MB (stack: Redis' default)."""
MAX_PRODUCERS = 10_000
ANSWER_MARGIN_MS = 250
"""Of a deadline, kept back from WAIT: an append that was not confirmed in time shall say so, not run into the deadline."""

logger = logging.getLogger("streamsite.log")


class OtherDurabilityError(StreamsiteError):
    """The stream asks for another durability than was taken for granted, so nothing was done.

    Args:
        level: that it asks for.
    """

    def __init__(self, level: Durability) -> None:
        super().__init__(f"the stream asks for {level}")
        self.level = level


@dataclass(slots=True)
class _Waiting:
    name: str
    keys: StreamKeys
    request: AppendRequest
    level: Durability
    future: asyncio.Future[Appended]
    deadline_mono: float
    size: int
    is_sent: bool = False


class GroupCommit:
    """Takes appends for one shard and one durability, which all of them wait for.

    Owns a task while appends wait; `close` ends it.
    """

    def __init__(self, store: Store, shard: Shard, durability: Durability) -> None:
        self._store = store
        self._shard = shard
        self._durability = durability
        self._queue: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def append(self, name: str, request: AppendRequest, level: Durability, timeout_s: float) -> Appended:
        """Append and return once it has survived what was asked.

        Args:
            level: what the stream itself asks for, as far as is known.

        Raises: RequestError, StoreError. OtherDurabilityError: it asks for another, and nothing was done.
        Cancellation: appended, or not.
        """
        size = request.size + 256 * len(request.events) + 256
        if len(self._queue) >= MAX_QUEUED or (self._queue and self._queued_bytes + size > MAX_QUEUED_BYTES):
            raise StoreError(503, "overloaded", "too many appends wait already; nothing was done")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(
            name, StreamKeys.of(name), request, level, loop.create_future(), time.monotonic() + timeout_s, size
        )
        self._queue.append(waiting)
        self._queued_bytes += size
        if self._task is None or self._task.done():
            self._task = own_task(self._run(), "group-commit")
        try:
            async with asyncio.timeout(timeout_s):
                return await waiting.future
        except TimeoutError as error:
            raise self._shard.failure("append", error, sent=waiting.is_sent) from error

    async def close(self) -> None:
        """Let what waits be answered, then close the connection."""
        if self._task is not None and not self._task.done():
            await self._task
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _run(self) -> None:
        while self._queue:
            group: list[_Waiting] = []
            size = 0
            while self._queue and (not group or size + self._queue[0].size <= MAX_GROUP_BYTES):
                waiting = self._queue.popleft()
                self._queued_bytes -= waiting.size
                size += waiting.size
                if not waiting.future.cancelled():
                    group.append(waiting)
            if not group:
                continue
            try:
                await self._commit(group)
            except (OSError, RedisError, TimeoutError, StoreError) as error:
                await self._drop_connection()
                self._store.note_failure(error)
                if not isinstance(error, StoreError):
                    error = self._shard.failure("append", error, sent=group[0].is_sent)
                self._fail(group, error)
            except Exception:
                logger.exception("append.failed")
                await self._drop_connection()
                self._fail(group, StoreError(503, "outcome-unknown", "append: the site failed, its outcome is unknown"))
            except BaseException:
                await self._drop_connection()
                self._fail(group, StoreError(503, "outcome-unknown", "append: the site stops, its outcome is unknown"))
                raise

    async def _commit(self, group: list[_Waiting]) -> None:
        last_deadline = max(waiting.deadline_mono for waiting in group)
        async with asyncio.timeout(max(0.05, last_deadline - time.monotonic())):
            connection = await self._connect()
            # Who gave up meanwhile was told that nothing was done.
            group[:] = [waiting for waiting in group if not waiting.future.done()]
            if not group:
                return
            failpoints.hit("before_append")
            streams: dict[tuple[str, Durability], list[_Waiting]] = {}
            for waiting in group:
                streams.setdefault((waiting.name, waiting.level), []).append(waiting)
            parts = list(streams.values())
            began = time.perf_counter()
            for waiting in group:
                waiting.is_sent = True
            try:
                replies = await connection.call_many(
                    [_command(part, connection.run_id, self._durability) for part in parts]
                )
                for index, reply in enumerate(replies):
                    if isinstance(reply, NoScriptError):
                        text = [
                            b"EVAL",
                            scripts.APPEND.text,
                            *_command(parts[index], connection.run_id, self._durability)[2:],
                        ]
                        (replies[index],) = await connection.call_many([text])
            finally:  # a time-out shows in its bucket
                metrics.redis_command_seconds.labels("append").observe(time.perf_counter() - began)
            failpoints.hit("after_append_before_durable")
            reached = await self._make_durable(connection, min(waiting.deadline_mono for waiting in group))
            failpoints.hit("after_append")
        for part, reply in zip(parts, replies, strict=True):
            _answer(part, reply, self._durability, reached)
        if any(is_moved(reply) for reply in replies):
            await self._drop_connection()
            await self._store.refresh_cluster(2.0)
        elif any(isinstance(reply, ResponseError) and "READONLY" in str(reply) for reply in replies):
            await self._drop_connection()

    async def _connect(self) -> Connection:
        if self._connection is None or not self._connection.is_usable:
            await self._drop_connection()
            try:
                self._connection = await self._shard.connect()
            except (OSError, RedisError, TimeoutError) as error:
                raise self._shard.failure("append", error, sent=False) from error
        return self._connection

    async def _make_durable(self, connection: Connection, deadline_mono: float) -> Durability:
        """Wait, once for the group, until it has survived what is asked; return what it did survive.

        Args:
            deadline_mono: of the member that waits longest already: it too shall be told, and not run into it.
        """
        reached = Durability()
        facts = connection.facts
        if self._durability.is_fsynced and facts.appends_fsync:
            reached |= Durability(is_fsynced=True)
        elif self._durability.is_fsynced and facts.can_fsync():
            local, _ = await connection.call("WAITAOF", 1, 0, _wait_ms(deadline_mono))
            reached |= Durability(is_fsynced=local >= 1)
        if replicas := self._durability.replicas:
            reached |= Durability(replicas=int(await connection.call("WAIT", replicas, _wait_ms(deadline_mono))))
        return reached

    async def _drop_connection(self) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.close()

    @staticmethod
    def _fail(group: list[_Waiting], error: StreamsiteError) -> None:
        for waiting in group:
            if not waiting.future.done():
                waiting.future.set_exception(error)


def _wait_ms(deadline_mono: float) -> int:
    """How long to let Redis wait, so that there is time to answer; 0 would be for ever."""
    left_ms = round((deadline_mono - time.monotonic()) * 1000)
    return max(1, left_ms // 2, left_ms - ANSWER_MARGIN_MS)


def _command(part: list[_Waiting], run_id: str, durability: Durability) -> list[Any]:
    keys, level = part[0].keys, part[0].level
    arguments: list[Any] = [
        run_id,
        failpoints.value("redis_time_shift_ms"),
        keys.channel,
        MAX_PUSH_BYTES,
        MAX_PRODUCERS,
        str(level),
        len(part),
    ]
    for waiting in part:
        request = waiting.request
        producer = request.producer
        arguments += (
            len(request.events),
            int(request.close),
            request.media,
            *((producer.id, producer.epoch, producer.seq) if producer else ("", 0, 0)),
            request.stream_seq,
            int(durability != WRITTEN),
        )
        for event in request.events:
            arguments += (event.data, event.type, event.request_id, event.traceparent, event.checksum)
    return scripts.APPEND.command((keys.state, keys.entries, keys.producers, keys.generation, keys.forks), arguments)


def _answer(part: list[_Waiting], reply: Any, asked: Durability, reached: Durability) -> None:
    """Give each append of one stream its result."""
    name = part[0].name
    if isinstance(reply, ResponseError):
        refusal = store_refused(reply, "append")
        GroupCommit._fail(part, refusal)
        return
    media = reply[0].decode()
    if reply[1] == b"durability":
        GroupCommit._fail(part, OtherDurabilityError(Durability.parse(reply[2].decode())))
        return
    results = [[reply[1]]] * len(part) if isinstance(reply[1], bytes) else reply[1]
    for waiting, result in zip(part, results, strict=True):
        if waiting.future.done():
            continue
        if result[0] not in (b"ok", b"duplicate"):
            waiting.future.set_exception(append_refused(name, media, result))
            continue
        if asked | reached != reached:
            metrics.append_unconfirmed.inc()
            detail = (
                f"the append is written, but not {asked} in time (only {reached}); repeat it with the same producer seq"
            )
            waiting.future.set_exception(StoreError(503, "unconfirmed", detail))
            continue
        waiting.future.set_result(_appended(waiting.request, result, reached))


def _appended(request: AppendRequest, result: list[Any], reached: Durability) -> Appended:
    is_duplicate = result[0] == b"duplicate"
    if is_duplicate:
        metrics.append_duplicates.inc()
    else:
        metrics.appends.inc()
        metrics.events_in.inc(len(request.events))
        metrics.bytes_in.inc(request.size)
    epoch, seq = (int(result[3]), int(result[4])) if len(result) == 5 and request.producer else (0, 0)
    return Appended(result[1].decode(), result[2] == 1, is_duplicate, reached, epoch, seq)
