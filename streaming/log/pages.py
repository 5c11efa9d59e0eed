"""Redis entries into events and pages, and what is wrong with an offset. Pure but for counting and logging."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from observability import metrics
from streaming.errors import RequestError
from streaming.events import DEFAULT_TYPE, Event, checksum
from streaming.log.outcome import Page
from streaming.log.state import StreamState, entry_offset
from streaming.offsets import NOW, START, ZERO, parse_offset

__all__ = ["entry_position", "event_of", "media_of", "offset_gone", "own_page", "unknown_offset"]

LEEWAY_MS = 60_000
"""How far ahead of Redis' clock an offset may be and still count as lost rather than never given."""

logger = logging.getLogger("streamsite.log")


def media_of(content_type: str) -> str:
    """type/subtype of a normalised content type."""
    return content_type.partition(";")[0].strip()


def entry_position(offset: str) -> str:
    """An offset as read.lua takes it.

    Raises: RequestError: it has not the form of one.
    """
    if offset in (START, ZERO):
        return "-"
    if offset == NOW:
        return "$"
    try:
        generation, sequence = parse_offset(offset)
    except ValueError as error:
        raise RequestError(400, "bad-offset", f"{error}; -1 is the start, now the end") from error
    return f"{generation}-{sequence}"


def event_of(entry: Any) -> Event:
    """An event from a Redis entry: [id, [field, value, …]] in the order that the scripts write.

    Of a damaged one only the offset is to be relied on; any of its fields may be what is damaged.
    """
    entry_id, fields = entry
    offset = entry_offset(entry_id.decode())
    data = fields[1]
    try:
        kind = fields[3].decode()
        if checksum(kind, data) == int(fields[9]):
            return Event(offset, kind, data, int(fields[11]), fields[5].decode(), fields[7].decode())
    except ValueError:
        pass  # no text, or no number
    metrics.events_corrupt.inc()
    logger.error("event.corrupt", extra={"offset": offset})
    return Event(offset, DEFAULT_TYPE, data, 0, is_corrupt=True)


def own_page(state: StreamState, events: Sequence[Event], start: str, *, is_up_to_date: bool | None = None) -> Page:
    """A page from what was read; at the tail, its end is written as the tail is."""
    reached = events[-1].offset if events else start
    if is_up_to_date is None:
        is_up_to_date = reached >= state.tail_offset or (
            state.tail_id == state.base and not reached > state.tail_offset
        )
    return Page(state, events, start, state.tail_offset if is_up_to_date else reached, is_up_to_date)


def unknown_offset(name: str, offset: str, state: StreamState) -> RequestError:
    """An offset that this stream does not hold: lost with its event, or never given.

    Both are told apart only by the clock: what lies in the future can't have been given by this server.
    """
    generation, _ = parse_offset(offset)
    members = {"earliest_offset": state.earliest_offset, "tail_offset": state.tail_offset}
    if generation > max(state.now_ms, parse_offset(state.tail_offset).generation) + LEEWAY_MS:
        return RequestError(400, "bad-offset", f"the offset {offset} of {name!r} was never given by this server")
    metrics.rewound_reads.inc()
    detail = (
        f"the log holds no event {offset} of {name!r}: it was lost, or the stream was created anew. "
        f"Go on from {state.earliest_offset} (earliest) or {state.tail_offset} (tail)"
    )
    return RequestError(410, "stream-rewound", detail, members=members)


def offset_gone(name: str, offset: str, state: StreamState) -> RequestError:
    """Retention removed what would follow."""
    earliest = state.earliest_offset
    detail = f"retention removed what follows {offset} in {name!r}; the earliest place to go on from is {earliest}"
    members = {"earliest_offset": earliest, "tail_offset": state.tail_offset}
    return RequestError(410, "offset-gone", detail, headers={"Stream-Earliest-Offset": earliest}, members=members)
