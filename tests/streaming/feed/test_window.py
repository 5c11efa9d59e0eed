"""The window: every event after its base, bounded in bytes, frames made once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streaming.events import Event
from streaming.feed.window import ENTRY_OVERHEAD_BYTES, Window
from streaming.offsets import format_offset


def _event(sequence: int, size: int = 1) -> Event:
    return Event(format_offset(1, sequence), "message", b"x" * size, 0)


def _window(limit_bytes: int = 10**9) -> Window:
    return Window(format_offset(1, 0), limit_bytes)


def test_empty_window_holds_its_base_alone() -> None:
    """The place behind which it begins is one to read from."""
    window = _window()
    assert window.tail == window.base == format_offset(1, 0)
    assert window.index_after(window.base) == 0
    assert window.events(0, 100) == []
    assert window.index_after(format_offset(0, 9)) is None
    assert window.index_after(format_offset(1, 1)) is None


@given(st.lists(st.lists(st.integers(0, 2000), max_size=5), max_size=20), st.integers(0, 6000))
def test_window_is_a_bounded_suffix(groups: list[list[int]], limit_bytes: int) -> None:
    """Whatever comes, it holds the newest events that fit, at least one, and knows every place in them."""
    window = _window(limit_bytes)
    everything: list[Event] = []
    for group in groups:
        events = [_event(len(everything) + 1 + index, size) for index, size in enumerate(group)]
        window.extend(events)
        everything += events
        held = list(window.events(0, 10**9))
        assert held == everything[len(everything) - len(held) :]
        size = sum(len(event.data) + ENTRY_OVERHEAD_BYTES for event in held)
        assert window.statistics().bytes == size
        assert size <= limit_bytes or len(held) == 1
        assert bool(held) == bool(everything)
        for index, event in enumerate(held):
            assert window.index_after(event.offset) == index + 1
        assert window.index_after(window.base) == 0
        if everything:
            assert window.tail == everything[-1].offset
        for lost in everything[: max(0, len(everything) - len(held) - 1)]:
            assert window.index_after(lost.offset) is None


def test_page_of_a_window_is_bounded_in_bytes() -> None:
    """At least one event, then as many as fit."""
    window = _window()
    window.extend([_event(n, 10) for n in range(1, 6)])
    assert len(window.events(0, 25)) == 2
    assert len(window.events(0, 5)) == 1
    assert len(window.events(4, 5)) == 1
    assert window.events(5, 5) == []


def test_frames_are_made_once_for_each_format() -> None:
    """Every reader is handed the same bytes, also after older events have gone."""
    window = _window(6 * ENTRY_OVERHEAD_BYTES)
    made: list[str] = []

    def encode(event: Event) -> bytes:
        made.append(event.offset)
        return event.offset.encode()

    events = [_event(n) for n in range(1, 5)]
    window.extend(events)
    first = window.frames("sse", encode, 1, 2)
    assert list(first) == [event.offset.encode() for event in events[1:3]]
    again = window.frames("sse", encode, 0, 4)
    assert again[1] is first[0]
    window.frames("ndjson", encode, 0, 4)
    assert len(made) == 8
    window.extend([_event(n) for n in range(5, 8)])
    index = window.index_after(format_offset(1, 4))
    assert index is not None
    assert list(window.frames("sse", encode, index, 2)) == [format_offset(1, n).encode() for n in (5, 6)]
    assert window.frames("sse", encode, index - 1, 1)[0] is again[3]
    window.reset(format_offset(2, 0))
    window.extend([_event(1)])
    window.frames("sse", encode, 0, 1)
    assert made[-1] == format_offset(1, 1)
