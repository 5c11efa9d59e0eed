"""Damaged events: what readers are told, and the guard that their data are never sent as data.

Formats with a place for a report beside the data (native SSE, NDJSON) send the problem at the event's own offset. Bodies and
the protocol's data events have none: their encoders raise, and the caller ends the batch before the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.events import Event

__all__ = ["CorruptEventError", "corrupt_problem", "refuse_corrupt"]


class CorruptEventError(ValueError):
    """A damaged event was given to a format that could only send it as data.

    Args:
        offset: of the first damaged event in the batch.
    """

    def __init__(self, offset: str) -> None:
        super().__init__(f"the event at offset {offset} does not fit its checksum and can't be sent as data")
        self.offset = offset


def corrupt_problem(offset: str) -> dict[str, Any]:
    """The problem document (RFC 9457) about the event at an offset."""
    return {
        "type": "/problems/event-corrupt",
        "title": "A stored event is damaged",
        "status": 500,
        "detail": "The event does not fit its checksum. Its data are withheld; reading goes on after it.",
        "offset": offset,
    }


def refuse_corrupt(events: Sequence[Event]) -> None:
    """Raise for the first damaged event of a batch.

    Raises: CorruptEventError: there is one.
    """
    for event in events:
        if event.is_corrupt:
            raise CorruptEventError(event.offset)
