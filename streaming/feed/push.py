r"""What append.lua and delete.lua publish, taken apart. Pure.

<offset before> <tail offset> <open|closed|deleted> <time ms> <events, -1 = too large to travel>\n
then for each event a line   <sequence> <bytes of type> <of request id> <of traceparent> <of data> <crc32>
then, joined without anything between, type, request id, traceparent and data of each
"""

from __future__ import annotations

from dataclasses import dataclass

from streaming.events import Event, checksum
from streaming.offsets import format_offset, parse_offset

__all__ = ["Push", "parse_push"]


@dataclass(frozen=True, slots=True)
class Push:
    """A change of one stream.

    Args:
        before: the tail before it; where that is not the follower's, something is missing.
        events: all that came; None when they are too large to travel and must be read.
    """

    before: str
    tail: str
    is_closed: bool
    is_deleted: bool
    events: list[Event] | None


def parse_push(payload: bytes) -> Push:
    """Take a payload apart.

    Raises: ValueError: it is not one of ours.
    """
    head, _, rest = payload.partition(b"\n")
    before, tail, phase, time_ms, count = head.decode("ascii").split(" ")
    events: list[Event] | None = None
    if (number := int(count)) >= 0:
        lines = rest.split(b"\n", number)
        if len(lines) != number + 1:
            raise ValueError(f"a push of {number} events has {len(lines) - 1} lines")
        blob = lines[number] if number else b""
        generation = parse_offset(tail).generation
        time = int(time_ms)
        events = []
        at = 0
        for line in lines[:number]:
            sequence, kind, request_id, trace, size, crc = (int(part) for part in line.split(b" "))
            ends = (at + kind, at + kind + request_id, at + kind + request_id + trace)
            data = blob[ends[2] : ends[2] + size]
            type_ = blob[at : ends[0]].decode()
            events.append(
                Event(
                    format_offset(generation, sequence),
                    type_,
                    data,
                    time,
                    blob[ends[0] : ends[1]].decode(),
                    blob[ends[1] : ends[2]].decode(),
                    checksum(type_, data) != crc,
                )
            )
            at = ends[2] + size
        if at != len(blob):
            raise ValueError(f"a push tells of {at} bytes and has {len(blob)}")
    return Push(before, tail, phase == "closed", phase == "deleted", events)
