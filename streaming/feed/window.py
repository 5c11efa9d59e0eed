"""The recent events of one stream, bounded in bytes. Pure.

Encoded frames are kept beside the events, made once for each wire format, whoever asks first: every reader of a format is
handed the same bytes objects.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streaming.events import Event

__all__ = ["Window", "WindowStatistics"]

ENTRY_OVERHEAD_BYTES = 300
"""Of one event beside its data: the object, its strings, its place in the lists; measured with tracemalloc."""


@dataclass(frozen=True, slots=True)
class WindowStatistics:
    """Gauges of a window."""

    events: int
    bytes: int
    formats: int


class Window:
    """Every event after `base` up to `tail`, oldest first.

    Args:
        base: an offset; the window begins empty behind it.
        limit_bytes: of data and overhead; the newest event is kept whatever its size.
    """

    def __init__(self, base: str, limit_bytes: int) -> None:
        self.base = base
        self._limit_bytes = limit_bytes
        self._events: list[Event] = []
        self._offsets: list[str] = []
        self._bytes = 0
        self._frames: dict[str, list[bytes]] = {}

    @property
    def tail(self) -> str:
        """The offset of the newest event, or the base."""
        return self._offsets[-1] if self._offsets else self.base

    def statistics(self) -> WindowStatistics:
        """Gauges; cost O(1)."""
        return WindowStatistics(len(self._events), self._bytes, len(self._frames))

    def extend(self, events: Sequence[Event]) -> None:
        """Take the events that follow the tail; forget the oldest that no longer fit.

        Args:
            events: directly after the tail, offsets rising.
        """
        self._events += events
        self._offsets += (event.offset for event in events)
        self._bytes += sum(len(event.data) + ENTRY_OVERHEAD_BYTES for event in events)
        drop, left = 0, self._bytes
        while left > self._limit_bytes and drop < len(self._events) - 1:
            left -= len(self._events[drop].data) + ENTRY_OVERHEAD_BYTES
            drop += 1
        if drop:
            self.base = self._offsets[drop - 1]
            del self._events[:drop], self._offsets[:drop]
            self._bytes = left
            for frames in self._frames.values():
                del frames[:drop]

    def reset(self, base: str) -> None:
        """Forget everything and begin behind another offset."""
        self.base = base
        self._events.clear()
        self._offsets.clear()
        self._frames.clear()
        self._bytes = 0

    def index_after(self, offset: str) -> int | None:
        """The index of the first event after an offset; None if the window does not hold that place."""
        if offset == self.base:
            return 0
        index = bisect_left(self._offsets, offset)
        if index < len(self._offsets) and self._offsets[index] == offset:
            return index + 1
        return None

    def events(self, start: int, limit_bytes: int) -> Sequence[Event]:
        """Events from an index on, at least one if there is one, at most so many bytes of data."""
        size = 0
        for index in range(start, len(self._events)):
            size += len(self._events[index].data)
            if size > limit_bytes and index > start:
                return self._events[start:index]
        return self._events[start:]

    def frames(self, form: str, encode: Callable[[Event], bytes], start: int, count: int) -> Sequence[bytes]:
        """Frames of `count` events from an index on, in a wire format.

        Args:
            form: the format's name, the key of the cache.
            encode: makes one frame; called once for each event of the window.
        """
        frames = self._frames.setdefault(form, [])
        if len(frames) < start + count:
            frames += (encode(event) for event in self._events[len(frames) : start + count])
        return frames[start : start + count]
