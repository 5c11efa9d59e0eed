"""Forks: what touches two streams, and so takes steps (docs/adr/0005).

    1. pin      a mark in the source, pending: it keeps what is inherited            fork_pin.lua
    2. create   the fork itself, which names source and mark                         create.lua
    3. link     the mark is no longer pending                                        fork_link.lua
    …
    4. release  the fork is gone: so is the mark, and a deleted source behind it     fork_release.lua

Each step is one script on one stream and can be repeated. Whoever dies between two of them leaves a mark that the sweeper
finds: it links it when the fork is there, and releases it when it is not. Step 2 refuses a mark that is older than
`PIN_LIFE_MS`, and the sweeper touches only older ones than `PIN_SWEEP_MS`, so the two never meet.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import orjson

from streaming import failpoints
from streaming.errors import RequestError
from streaming.events import NewEvent
from streaming.keys import StreamKeys
from streaming.log import scripts
from streaming.log.outcome import Created, CreateRequest, ForkRequest
from streaming.log.pages import media_of
from streaming.log.refusals import not_found, stream_deleted
from streaming.log.state import Segment, StreamState, entry_offset
from streaming.offsets import START, ZERO, parse_offset, to_entry_id

if TYPE_CHECKING:
    from streaming.log.log import Log

__all__ = ["PIN_SWEEP_MS", "create_fork", "settle_pin"]

PIN_LIFE_MS = 15_000
PIN_SWEEP_MS = 60_000
MAX_SEGMENTS = 64
"""Longest chain of forks: a page may have to ask each."""
_PAGE_BYTES = 1024 * 1024


async def create_fork(log: Log, name: str, request: CreateRequest, fork: ForkRequest) -> Created:
    """Create a stream that inherits from another, or confirm that it is there as asked.

    Raises: RequestError, StoreError.
    """
    for _ in range(3):
        state = await _source_state(log, fork.source)
        if request.content_type and media_of(request.content_type) != state.media:
            raise RequestError(
                409, "content-type-mismatch", f"the source {fork.source!r} is {state.content_type}, a fork is the same"
            )
        if fork.offset not in ("", START, ZERO):
            _checked_offset(fork.offset)
        pin = secrets.token_hex(8)
        code, now_ms = await _pin(log, fork.source, pin, name, state)
        if code == "changed":
            continue
        if code != "pinned":
            raise _source_error(fork.source, code)
        failpoints.hit("fork_pinned")
        try:
            # Only now: retention may have moved on before the mark, after it nothing that it passes is removed.
            state = await _source_state(log, fork.source)
            segments, least_generation, prefix = await _inherited(log, fork, state)
            if len(segments) > MAX_SEGMENTS:
                raise RequestError(400, "fork-too-deep", f"a fork may stand on {MAX_SEGMENTS} others, not more")
        except RequestError:
            await log.release(fork.source, pin)
            raise
        ttl, expires_ms, expires_text = request.ttl_s, request.expires_at_ms, request.expires_text
        if ttl < 0 and not expires_ms:
            ttl = state.ttl_s
            expires_ms = state.expires_ms if state.ttl_s < 0 else 0
            expires_text = state.expires_text
        lineage: tuple[Any, ...] = (
            orjson.dumps([list(segment) for segment in segments]),
            fork.source,
            fork.offset,
            fork.sub_offset,
            pin,
            least_generation,
            now_ms + PIN_LIFE_MS,
            ttl,
            expires_ms,
            expires_text,
        )
        wanted = CreateRequest(
            content_type=state.content_type,
            ttl_s=request.ttl_s,
            expires_at_ms=request.expires_at_ms,
            expires_text=request.expires_text,
            is_closed=request.is_closed,
            retention=request.retention,
            durability=request.durability,
            events=[*prefix, *request.events],
        )
        try:
            created = await log.create_with(name, wanted, lineage)
        except RequestError:
            await log.release(fork.source, pin)
            raise
        if not created.is_new:
            await log.release(fork.source, pin)
            return created
        failpoints.hit("fork_created")
        await _link(log, fork.source, pin, name)
        return created
    raise RequestError(409, "source-changing", f"the source {fork.source!r} was changed while it was forked; try again")


async def settle_pin(log: Log, source: str, pin: str, fork: str) -> bool:
    """Bring a mark that was left behind to its end: linked if its fork is there, released if it is not.

    Returns: whether it was released.
    """
    keys = StreamKeys.of(fork)
    async with log.store.shard(keys.bucket).connection(log.read_timeout_s, "look for a fork") as connection:
        found = await connection.call("HGET", keys.state, "pin")
    if found == pin.encode():
        await _link(log, source, pin, fork)
        return False
    await log.release(source, pin)
    return True


async def _source_state(log: Log, source: str) -> StreamState:
    try:
        return await log.state(source)
    except RequestError as error:
        raise (_source_error(source, "deleted") if error.status == 410 else error) from error


def _source_error(source: str, code: str) -> RequestError:
    if code == "deleted":
        return RequestError(409, "source-deleted", stream_deleted(source).detail)
    return not_found(source)


async def _inherited(log: Log, fork: ForkRequest, state: StreamState) -> tuple[list[Segment], int, list[NewEvent]]:
    """What a fork inherits: segments, the least generation of its own events, and the event it gets in part, if any.

    Raises: RequestError: the offset is not one of the source's, or the sub-offset lies past its end.
    """
    position, prefix = state.tail_offset, list[NewEvent]()
    if fork.offset:
        position = state.earliest_offset if fork.offset in (START, ZERO) else _checked_offset(fork.offset)
        if position > state.tail_offset:
            raise RequestError(400, "bad-offset", f"the offset {fork.offset} lies behind the tail, {state.tail_offset}")
        try:
            await log.read(fork.source, position, 0, touch=False)
        except RequestError as error:
            raise RequestError(400, "bad-offset", error.detail) from error
    if fork.sub_offset:
        position, prefix = await _refine(log, fork, state, position)
    own = to_entry_id(position)
    segments: list[Segment] = []
    # Once retention has passed into the source's own events, what it inherited is gone for its heirs too.
    inherited = state.segments or () if state.floor == state.base else ()
    for segment in inherited:
        if entry_offset(segment.last) >= position:
            if entry_offset(segment.first) < position:
                segments.append(Segment(segment.source, segment.first, own))
            break
        segments.append(segment)
    else:
        if position > entry_offset(state.floor):
            segments.append(Segment(fork.source, state.floor, own))
    return segments, parse_offset(position).generation + 1, prefix


def _checked_offset(offset: str) -> str:
    try:
        parse_offset(offset)
    except ValueError as error:
        raise RequestError(400, "bad-offset", str(error)) from error
    return offset


async def _refine(log: Log, fork: ForkRequest, state: StreamState, position: str) -> tuple[str, list[NewEvent]]:
    """Go on from a position by messages or bytes; of an event that is cut, the part that is inherited.

    Raises: RequestError: the source ends before, or the event that would be cut is damaged.
    """
    left = fork.sub_offset
    while left:
        page = await log.read(fork.source, position, _PAGE_BYTES, touch=False)
        for event in page.events:
            size = 1 if state.media == "application/json" else len(event.data)
            if left < size:
                if event.is_corrupt:
                    raise RequestError(500, "event-corrupt", f"the event {event.offset} of {fork.source!r} is damaged")
                part = event.data[:left]
                return position, [NewEvent(part, event.type, event.request_id, event.traceparent)]
            left -= size
            position = event.offset
            if not left:
                return position, []
        if page.is_up_to_date:
            raise RequestError(
                400,
                "bad-sub-offset",
                f"Stream-Fork-Sub-Offset {fork.sub_offset} lies {left} past the end of the source",
            )
    return position, []


async def _pin(log: Log, source: str, pin: str, fork: str, state: StreamState) -> tuple[str, int]:
    keys = StreamKeys.of(source)
    reply = await log.call(
        scripts.FORK_PIN,
        keys.bucket,
        (keys.state, keys.entries, keys.producers, keys.forks),
        [failpoints.value("redis_time_shift_ms"), pin, fork, state.base],
        "pin the source of a fork",
    )
    return reply[0].decode(), int(reply[1]) if len(reply) > 1 else 0


async def _link(log: Log, source: str, pin: str, fork: str) -> None:
    keys = StreamKeys.of(source)
    await log.call(scripts.FORK_LINK, keys.bucket, (keys.forks,), [pin, fork], "link a fork")
