"""The event: what a stream is made of. Pure; valid once it exists.

Whoever makes an `Event` from input checks type and size first (`wire/event_type.py`, `api/requests.py`); the log makes
them from entries that were checked at append, so the hot path pays nothing.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

__all__ = ["DEFAULT_TYPE", "Event", "NewEvent", "checksum"]

DEFAULT_TYPE = "message"
"""The type that EventSource gives to an event that names none."""


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a stream, as the log holds it.

    Args:
        offset: its place; also the `id:` of its SSE frame.
        type: without control characters, at most 128 bytes.
        data: exactly what was appended.
        time_ms: when Redis took it, milliseconds since 1970, never falling along a stream.
        request_id: of the append that made it.
        traceparent: W3C trace context of that append, may be empty.
        is_corrupt: the stored checksum does not fit the data; they must not be delivered as data.
    """

    offset: str
    type: str
    data: bytes
    time_ms: int
    request_id: str = ""
    traceparent: str = ""
    is_corrupt: bool = False


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event on its way into the log; the log gives it offset and time."""

    data: bytes
    type: str = DEFAULT_TYPE
    request_id: str = ""
    traceparent: str = ""
    checksum: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "checksum", checksum(self.type, self.data))


def checksum(type: str, data: bytes) -> int:
    """CRC-32 over type and data, stored beside each event: an append-only file has none of its own."""
    return zlib.crc32(data, zlib.crc32(type.encode()))
