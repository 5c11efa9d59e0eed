"""Damaged events: told, never sent."""

from __future__ import annotations

import pytest

from streaming.events import Event
from streaming.wire.corrupt import CorruptEventError, corrupt_problem, refuse_corrupt


def test_first_damaged_event_of_a_batch_is_named() -> None:
    """The caller learns where to end the batch."""
    events = [
        Event("a", "message", b"", 0),
        Event("b", "message", b"", 0, is_corrupt=True),
        Event("c", "message", b"", 0, is_corrupt=True),
    ]
    with pytest.raises(CorruptEventError) as caught:
        refuse_corrupt(events)
    assert caught.value.offset == "b"


def test_sound_batch_passes() -> None:
    """Without damage nothing happens."""
    refuse_corrupt([Event("a", "message", b"", 0)])


def test_problem_names_the_offset() -> None:
    """The report says which event is withheld, in RFC 9457's members."""
    assert corrupt_problem("a").items() >= {"type": "/problems/event-corrupt", "status": 500, "offset": "a"}.items()
