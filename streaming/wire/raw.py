"""Raw bodies: catch-up and long-poll answers (Durable Streams 5.6, 5.7): the appended bytes, or a JSON array."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import ContentKind
from .corrupt import refuse_corrupt
from .json_mode import join_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.events import Event

__all__ = ["encode_body"]


def encode_body(events: Sequence[Event], kind: ContentKind) -> bytes:
    """Make the body of a page: a JSON array (`[]` for no events), or all data one behind the other.

    Raises: CorruptEventError: a damaged event is among them.
    """
    refuse_corrupt(events)
    data = [event.data for event in events]
    return join_json(data) if kind is ContentKind.JSON else b"".join(data)
