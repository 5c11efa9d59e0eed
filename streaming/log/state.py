"""A stream's state as a script returned it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from streaming.offsets import format_offset
from streaming.retention import Retention

__all__ = ["Segment", "StreamState", "entry_offset"]


class Segment(NamedTuple):
    """A part of a stream that a fork inherits: entries of `source` after `first` up to and with `last` (entry ids)."""

    source: str
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class StreamState:
    """What is known of a stream at one moment.

    Args:
        floor, base: entry ids; events follow the first as far as retention let them, the second is where the stream began.
        bytes, count: of events that can be read, without what a fork inherits.
        ttl_s: sliding; -1 = none. expires_ms: since 1970, by Redis' clock; 0 = never.
        expires_text: an absolute expiry as its creator wrote it.
        segments: what it inherits, oldest first; None if it is no fork.
        now_ms: by Redis' clock.
    """

    content_type: str
    media: str
    tail_offset: str
    tail_id: str
    is_closed: bool
    ttl_s: int
    expires_ms: int
    expires_text: str
    floor: str
    base: str
    count: int
    bytes: int
    retention: Retention
    durability: str
    segments: tuple[Segment, ...] | None
    created_ms: int
    time_ms: int
    now_ms: int

    @classmethod
    def from_reply(cls, values: Sequence[Any]) -> StreamState:
        """Read the state fields of read.lua's reply, in its order."""
        text = [value.decode() if value is not None else "" for value in values]
        (content_type, media, g, q, closed, expires, ttl, expires_text, _, floor, base, count, size, gone_count, gone_bytes,
         keep_age, keep_count, keep_bytes, created, durability, chain, _, _, _, _, time_ms, now) = text  # fmt: skip
        return cls(
            content_type=content_type,
            media=media,
            tail_offset=format_offset(g, q),
            tail_id=f"{g}-{q}",
            is_closed=closed == "1",
            ttl_s=int(ttl),
            expires_ms=int(expires),
            expires_text=expires_text,
            floor=floor,
            base=base,
            count=int(count) - int(gone_count),
            bytes=int(size) - int(gone_bytes),
            retention=Retention(int(keep_age) // 1000, int(keep_count), int(keep_bytes)),
            durability=durability,
            segments=tuple(Segment(*part) for part in orjson.loads(chain)) if chain else None,
            created_ms=int(created),
            time_ms=int(time_ms),
            now_ms=int(now),
        )

    def closed(self) -> StreamState:
        """The same stream, closed since."""
        return replace(self, is_closed=True)

    @property
    def earliest_offset(self) -> str:
        """The place before the first event that can still be read."""
        if self.floor == self.base and self.segments:
            return entry_offset(self.segments[0].first)
        return entry_offset(self.floor)


def entry_offset(entry_id: str) -> str:
    """The offset for a Redis entry id."""
    generation, _, sequence = entry_id.partition("-")
    return format_offset(generation, sequence)
