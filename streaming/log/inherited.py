"""Reading what a fork inherits: its segments in their sources, one behind the other, then its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from streaming.errors import RequestError
from streaming.events import Event
from streaming.log.outcome import Page
from streaming.log.pages import event_of, own_page, unknown_offset
from streaming.log.refusals import usable
from streaming.log.state import Segment, StreamState, entry_offset
from streaming.offsets import to_entry_id

if TYPE_CHECKING:
    from streaming.log.log import Log

__all__ = ["last_inherited", "read_inherited"]


async def read_segment(
    log: Log, state: StreamState, segment: Segment, after: str, limit_bytes: int
) -> tuple[list[Event], bool]:
    """Entries that a fork inherits from one source; whether that was all of the segment.

    Raises: RequestError: they are lost; a Cluster's nodes lose data each for itself.
    """
    reply = await log.read_raw(segment.source, after, limit_bytes, upto=segment.last)
    events = [event_of(entry) for entry in reply[2]] if reply[0] == b"ok" else []
    if not events:  # the segment's last entry at least should be there
        own = entry_offset(state.base)
        members = {"earliest_offset": own, "tail_offset": state.tail_offset}
        detail = f"events inherited from {segment.source!r} are lost; go on from {own}, where the fork's own begin"
        raise RequestError(410, "stream-rewound", detail, members=members)
    return events, events[-1].offset >= entry_offset(segment.last)


async def segment_has(log: Log, segment: Segment, entry_id: str) -> bool:
    """Whether an inherited part holds an entry, or begins behind it."""
    if entry_id in (segment.first, segment.last):
        return True
    reply = await log.read_raw(segment.source, entry_id, 0, upto=segment.last)
    return bool(reply[0] == b"ok")


async def read_inherited(log: Log, name: str, state: StreamState, after: str, limit_bytes: int) -> Page:
    """A page that begins in what a fork inherits; it may reach into what is its own."""
    segments = state.segments or ()
    start = after
    if after == "-":
        start = segments[0].first if segments else state.base
    elif segments and entry_offset(after) < entry_offset(segments[0].first):
        raise unknown_offset(name, entry_offset(after), state)
    events: list[Event] = []
    size, position, is_checked = 0, start, after == "-"
    for segment in segments:
        if entry_offset(position) >= entry_offset(segment.last) and position != segment.last:
            continue
        position = max(position, segment.first, key=entry_offset)
        if not is_checked:
            if not await segment_has(log, segment, position):
                raise unknown_offset(name, entry_offset(after), state)
            is_checked = True
        if position == segment.last:
            continue
        while size < limit_bytes:
            found, is_all = await read_segment(log, state, segment, position, limit_bytes - size)
            if size and size + len(found[0].data) > limit_bytes:
                size = limit_bytes
                break
            events += found
            size += sum(len(event.data) for event in found)
            position = to_entry_id(found[-1].offset)
            if is_all:
                position = segment.last
                break
        if position != segment.last:
            return own_page(state, events, entry_offset(start), is_up_to_date=False)
    if not is_checked and segments:
        raise unknown_offset(name, entry_offset(after), state)
    if size < limit_bytes or not limit_bytes:
        reply = usable(name, await log.read_raw(name, state.base, limit_bytes - size))
        own = [event_of(entry) for entry in reply[2]] if reply[0] == b"ok" else []
        if not events or not own or size + len(own[0].data) <= limit_bytes:
            events += own
        state = StreamState.from_reply(reply[1])
    return own_page(state, events, entry_offset(start))


async def last_inherited(log: Log, segments: Sequence[Segment], count: int) -> str | None:
    """The entry id behind which the last `count` inherited entries begin."""
    start = None
    for segment in reversed(segments):
        reply = await log.read_raw(segment.source, "$", 0, upto=segment.last, last=count)
        start = max(reply[3].decode(), segment.first, key=entry_offset)
        count = int(reply[4])
        if count <= 0:
            break
    return start
