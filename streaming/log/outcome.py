"""What goes into the log's operations and what comes out: values, checked before they are made. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streaming.durability import WRITTEN, Durability
from streaming.events import Event, NewEvent
from streaming.log.state import StreamState
from streaming.retention import Retention

__all__ = ["AppendRequest", "Appended", "CreateRequest", "Created", "ForkRequest", "Listed", "Page", "Producer"]


@dataclass(frozen=True, slots=True)
class Producer:
    """Who appends, for deduplication (Durable Streams 5.2.1)."""

    id: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """One append: all its events become visible together, or none does.

    Args:
        events: may be empty when `close` is set.
        media: type/subtype of the body, lower case; must be the stream's.
        close: take no more events after these.
        stream_seq: must be above the last one by bytes; empty = not given.
    """

    events: Sequence[NewEvent]
    media: str
    close: bool = False
    producer: Producer | None = None
    stream_seq: str = ""

    @property
    def size(self) -> int:
        """Bytes of data."""
        return sum(len(event.data) for event in self.events)


@dataclass(frozen=True, slots=True)
class Appended:
    """An acknowledged append.

    Args:
        offset: the tail after it; of a duplicate that is too old to be remembered: empty.
        durability: what it has survived by now.
    """

    offset: str
    is_closed: bool
    is_duplicate: bool
    durability: Durability
    producer_epoch: int = 0
    producer_seq: int = 0


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """Where a new stream branches off.

    Args:
        offset: of the source; empty = its tail.
        sub_offset: messages (JSON) or bytes (otherwise) past it.
    """

    source: str
    offset: str = ""
    sub_offset: int = 0


@dataclass(frozen=True, slots=True)
class CreateRequest:
    """A stream as it should be.

    Args:
        content_type: normalised; empty = the source's, or the default.
        ttl_s: sliding; -1 = none.
        expires_at_ms: since 1970; 0 = none. `expires_text` is what the caller wrote.
        retention: None = the log's default for a new stream, and any for one that is there.
    """

    content_type: str = ""
    ttl_s: int = -1
    expires_at_ms: int = 0
    expires_text: str = ""
    is_closed: bool = False
    retention: Retention | None = None
    durability: Durability | None = None
    fork: ForkRequest | None = None
    events: Sequence[NewEvent] = field(default=())


@dataclass(frozen=True, slots=True)
class Created:
    """A stream that is there now, new or as asked before."""

    content_type: str
    tail_offset: str
    is_closed: bool
    is_new: bool
    durability: Durability = WRITTEN


@dataclass(frozen=True, slots=True)
class Listed:
    """Some streams in order of their names; `next` is where to go on after them, None at the end."""

    states: Sequence[tuple[str, StreamState]]
    next: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A bounded run of a stream's events.

    Args:
        start_offset: what the events follow.
        next_offset: where the next page begins; the tail if this is up to date.
        is_up_to_date: nothing followed when this was read.
    """

    state: StreamState
    events: Sequence[Event]
    start_offset: str
    next_offset: str
    is_up_to_date: bool

    @property
    def is_end(self) -> bool:
        """Whether nothing will ever follow."""
        return self.is_up_to_date and self.state.is_closed
