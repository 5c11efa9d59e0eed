"""The log: every operation on streams, each one script on one stream.

What touches two streams is in `forks.py`; what happens without a caller is in `sweeper.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from observability import metrics
from streaming import failpoints
from streaming.durability import WRITTEN, Durability
from streaming.errors import RequestError, StoreError
from streaming.keys import StreamKeys
from streaming.log import scripts
from streaming.log.group_commit import GroupCommit, OtherDurabilityError
from streaming.log.inherited import last_inherited, read_inherited
from streaming.log.outcome import Appended, AppendRequest, Created, CreateRequest, Page
from streaming.log.pages import entry_position, event_of, media_of, offset_gone, own_page, unknown_offset
from streaming.log.refusals import is_moved, not_found, store_refused, stream_deleted, usable
from streaming.log.state import StreamState, entry_offset
from streaming.log.touch import Toucher
from streaming.retention import KEEP_ALL, Retention
from streaming.server_facts import FSYNCED_NEEDS
from streaming.store import Shard, Store

__all__ = ["DEFAULT_CONTENT_TYPE", "Log"]

DEFAULT_CONTENT_TYPE = "application/octet-stream"
MAX_LEVELS = 10_000
"""Streams whose own durability is remembered; past it all are learnt anew, at a round trip each."""


class Log:
    """Streams in Redis.

    Args:
        store: opened; the log does not close it.
        durability: of an append that asks for nothing.
        append_timeout_s, read_timeout_s: deadlines of one operation.
        retention: of a stream that is created without one.
    """

    def __init__(
        self,
        store: Store,
        durability: Durability,
        append_timeout_s: float,
        read_timeout_s: float,
        retention: Retention = KEEP_ALL,
    ) -> None:
        self.store = store
        self.durability = durability
        self.append_timeout_s = append_timeout_s
        self.read_timeout_s = read_timeout_s
        self.retention = retention
        self._commits: dict[tuple[int, Durability], GroupCommit] = {}
        self._levels: dict[str, Durability] = {}
        self._toucher = Toucher(self)

    async def append(self, name: str, request: AppendRequest, *, durability: str = "") -> Appended:
        """Append to a stream.

        Args:
            durability: more than the log's default; empty = the default.

        Raises:
            RequestError: the stream does not take it.
            StoreError: refused, or `outcome-unknown`; it is never repeated here.
        Cancellation: appended, or not.
        """
        deadline = time.monotonic() + self.append_timeout_s
        shard = self.store.shard(StreamKeys.of(name).bucket)
        asked = await self._checked(shard, durability) if durability else self.durability
        while True:
            level = self._levels.get(name, WRITTEN)
            commit = self._commits.get((id(shard), asked | level))
            if commit is None:
                commit = self._commits[id(shard), asked | level] = GroupCommit(self.store, shard, asked | level)
            try:
                return await commit.append(name, request, level, max(0.0, deadline - time.monotonic()))
            except OtherDurabilityError as error:  # nothing was done, so this is no repetition
                self._note_level(name, error.level)

    async def create(self, name: str, request: CreateRequest) -> Created:
        """Create a stream, or confirm that it is there as asked. A fork is made by `forks.create_fork`.

        Raises: RequestError: it is there, but otherwise. StoreError.
        """
        return await self.create_with(name, request, fork=None)

    async def create_with(self, name: str, request: CreateRequest, fork: Sequence[Any] | None) -> Created:
        """Run create.lua; `fork` holds its arguments 14 to 20 and 24 to 26 when it makes one."""
        keys = StreamKeys.of(name)
        if request.durability is not None:
            await self._checked(self.store.shard(keys.bucket), str(request.durability))
        content_type = request.content_type or DEFAULT_CONTENT_TYPE
        lineage, inherited = (fork[:7], fork[7:]) if fork else (("", "", "", "0", "", "0", "0"), ())
        retention = self.retention if request.retention is None else request.retention
        arguments = [
            failpoints.value("redis_time_shift_ms"),
            name,
            content_type,
            media_of(content_type),
            request.ttl_s,
            request.expires_at_ms,
            request.expires_text,
            int(request.is_closed),
            retention.age_s * 1000,
            retention.max_events,
            retention.max_bytes,
            str(request.durability or ""),
            *lineage,
            int(bool(request.content_type)),
            int(request.retention is not None),
            len(request.events),
            *inherited,
        ]
        for event in request.events:
            arguments += (event.data, event.type, event.request_id, event.traceparent, event.checksum)
        script_keys = (keys.state, keys.entries, keys.producers, keys.generation, keys.forks, keys.names)
        reply = await self.call(scripts.CREATE, keys.bucket, script_keys, arguments, "create", with_run_id=True)
        code = reply[0].decode()
        if code in ("created", "exists"):
            found_type, tail, closed, _ = (value.decode() for value in reply[1])
            return Created(found_type, tail, closed == "1", is_new=code == "created")
        if code == "deleted":
            raise RequestError(
                409, "stream-deleted", f"the stream {name!r} was deleted, but forks still hold its events"
            )
        if code == "stale":
            raise StoreError(503, "fork-expired", "making the fork took too long and was given up; nothing was done")
        detail = f"the stream {name!r} is there already, with another {reply[2].decode()}"
        raise RequestError(409, "stream-exists", detail)

    async def delete(self, name: str) -> None:
        """Delete a stream; while forks live on it, its events stay for them.

        Raises: RequestError, StoreError.
        """
        code, source, pin = await self.run_delete(name, only_expired=False)
        if code == "missing":
            raise not_found(name)
        if code == "deleted":
            raise stream_deleted(name)
        if code == "removed" and source:
            await self.release(source, pin)

    async def release(self, source: str, pin: str) -> None:
        """Take a mark out of its source, and go up the chain as long as that removes one.

        Raises: StoreError: the sweeper will do the rest.
        """
        while source:
            keys = StreamKeys.of(source)
            reply = await self.call(
                scripts.FORK_RELEASE,
                keys.bucket,
                (keys.state, keys.entries, keys.producers, keys.forks, keys.names),
                [failpoints.value("redis_time_shift_ms"), pin, source],
                "release a fork",
            )
            if reply[0] != b"removed":
                return
            source, pin = (reply[1] or b"").decode(), (reply[2] or b"").decode()

    async def run_delete(self, name: str, *, only_expired: bool) -> tuple[str, str, str]:
        """Run delete.lua: its code, and the source and pin that are to be released after `removed`."""
        keys = StreamKeys.of(name)
        arguments = [failpoints.value("redis_time_shift_ms"), name, keys.channel, int(only_expired)]
        script_keys = (keys.state, keys.entries, keys.producers, keys.names, keys.forks)
        reply = await self.call(scripts.DELETE, keys.bucket, script_keys, arguments, "delete")
        values = [(value or b"").decode() for value in reply] + ["", ""]
        return values[0], values[1], values[2]

    async def state(self, name: str) -> StreamState:
        """A stream's state.

        Raises: RequestError: there is no such stream. StoreError.
        """
        reply = await self.read_raw(name, "$", 0)
        return StreamState.from_reply(usable(name, reply)[1])

    async def read(self, name: str, offset: str, limit_bytes: int, *, last: int = 0, touch: bool = True) -> Page:
        """Read a page.

        Args:
            offset: `-1`, `now`, or one that the server gave.
            limit_bytes: of data; the first event is there whatever its size; 0 = none.
            last: begin so that this many events follow, and ignore `offset`; 0 = no.
            touch: this counts as reading, for a sliding time to live.

        Raises:
            RequestError: 404 no stream, 410 the offset is lost or its events were removed, 400 it was never given.
            StoreError.
        """
        own = entry_position(offset)
        reply = usable(name, await self.read_raw(name, own, limit_bytes, last=last))
        state = StreamState.from_reply(reply[1])
        if touch and state.ttl_s >= 0:
            self._toucher.touch(name, state.ttl_s)
        code = reply[0]
        if code == b"unknown":
            raise unknown_offset(name, offset, state)
        if code == b"gone":
            raise offset_gone(name, offset, state)
        if code == b"inherited":
            return await read_inherited(self, name, state, own, limit_bytes)
        if last and int(reply[4]) and state.segments and state.floor == state.base:
            start = await last_inherited(self, state.segments, int(reply[4]))
            if start is not None:
                return await read_inherited(self, name, state, start, limit_bytes)
        return own_page(state, [event_of(entry) for entry in reply[2]], entry_offset(reply[3].decode()))

    def touch(self, name: str, ttl_s: int) -> None:
        """Note that somebody reads a stream with a sliding time to live."""
        self._toucher.touch(name, ttl_s)

    async def ask(
        self, asked: Sequence[tuple[int, Sequence[Any]]], what: str, script: scripts.Script | None = None
    ) -> list[Any]:
        """Send commands that only read, each to the server of its bucket, in one round trip for each server.

        Args:
            asked: bucket and command.
            script: that the commands call, if they do.

        Returns: the replies in order.
        Raises: StoreError.
        """
        for attempt in (1, 2):
            replies: list[Any] = [None] * len(asked)
            by_shard: dict[Shard, list[int]] = {}
            for index, (bucket, _) in enumerate(asked):
                by_shard.setdefault(self.store.shard(bucket), []).append(index)
            prologue = [("SCRIPT", "LOAD", script.text)] if script else []
            for shard, indices in by_shard.items():
                async with shard.connection(self.read_timeout_s, what, is_read=True) as connection:
                    found = await connection.call_many([*prologue, *(asked[index][1] for index in indices)])
                for index, reply in zip(indices, found[len(prologue) :], strict=True):
                    replies[index] = reply
            refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
            if refused is None:
                return replies
            if not is_moved(refused) or attempt == 2:
                raise store_refused(refused, what) from refused
            await self.store.refresh_cluster(2.0)
        raise StoreError(503, "store-unavailable", f"{what}: the Cluster moves slots")

    async def call(
        self,
        script: scripts.Script,
        bucket: int,
        keys: Sequence[str],
        arguments: Sequence[Any],
        what: str,
        *,
        is_read: bool = False,
        with_run_id: bool = False,
    ) -> Any:
        """Run a script on the server that holds a bucket.

        A read is made a second time when its connection broke: it was one that had been idle while Redis restarted.

        Raises: StoreError.
        """
        for attempt in (1, 2):
            shard = self.store.shard(bucket)
            timeout_s = self.read_timeout_s if is_read else self.append_timeout_s
            try:
                async with shard.connection(timeout_s, what) as connection:
                    given = [connection.run_id, *arguments] if with_run_id else arguments
                    began = time.perf_counter()
                    try:
                        return await script.call(connection, keys, given)
                    finally:  # a time-out shows in its bucket
                        metrics.redis_command_seconds.labels(script.name).observe(time.perf_counter() - began)
            except ResponseError as error:
                if is_moved(error) and attempt == 1:
                    await self.store.refresh_cluster(2.0)
                    continue
                raise store_refused(error, what) from error
            except StoreError as error:
                if (
                    is_read
                    and attempt == 1
                    and isinstance(error.__cause__, (ConnectionError, RedisConnectionError))
                    and error.slug == "outcome-unknown"
                ):
                    continue
                if is_read:
                    raise StoreError(503, "store-unavailable", error.detail) from error
                raise
        raise StoreError(503, "store-unavailable", f"{what}: the Cluster moves slots; nothing was done")

    async def close(self) -> None:
        """Let appends that wait be answered, end the tasks."""
        for commit in list(self._commits.values()):
            await commit.close()
        await self._toucher.close()

    async def read_raw(self, name: str, after: str, limit: int, *, upto: str = "", last: int = 0) -> list[Any]:
        """Run read.lua; its reply as it is."""
        keys = StreamKeys.of(name)
        arguments = [failpoints.value("redis_time_shift_ms"), after, limit, upto, last]
        reply = await self.call(
            scripts.READ, keys.bucket, (keys.state, keys.entries, keys.forks), arguments, "read", is_read=True
        )
        return list(reply)

    def _note_level(self, name: str, level: Durability) -> None:
        """Remember what a stream asks for by itself: its appends wait by themselves, and hold up no others."""
        self._levels.pop(name, None)
        if level != WRITTEN:
            if len(self._levels) >= MAX_LEVELS:
                self._levels.clear()
            self._levels[name] = level

    async def _checked(self, shard: Shard, durability: str) -> Durability:
        """What was asked, joined with the default.

        Raises: RequestError: this Redis can't do it.
        """
        asked = Durability.parse(durability)
        if asked.is_fsynced or asked.replicas:
            async with shard.connection(self.append_timeout_s, "asking what Redis can do") as connection:
                facts = connection.facts
                replicas = facts.connected_replicas
                if asked.replicas > replicas:  # there may be more since the connection was made
                    replicas = len((await connection.call("ROLE"))[2])
            if asked.replicas > replicas:
                detail = f"this server has {replicas} replicas, {asked.replicas} were asked for"
                raise RequestError(400, "durability-unavailable", detail)
            if asked.is_fsynced and not facts.can_fsync():
                raise RequestError(400, "durability-unavailable", FSYNCED_NEEDS)
        return asked | self.durability
