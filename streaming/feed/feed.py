"""A followed stream in this process: its window, its tail, and who waits for more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from streaming.events import Event
from streaming.feed.window import Window, WindowStatistics
from streaming.log.state import StreamState
from streaming.wire.content import ContentKind

__all__ = ["Feed", "FeedStatistics"]


@dataclass(frozen=True, slots=True)
class FeedStatistics:
    """Gauges of a feed."""

    readers: int
    waiting: int
    window: WindowStatistics


class Feed:
    """Recent events of one stream, kept by the `Follower`, read by any number of readers.

    A reader is a position, an offset. It takes what the window holds after it, reads the log where the window does not hold
    it, and waits for `version` to move when there is nothing more.
    """

    def __init__(self, name: str, window_bytes: int) -> None:
        self.name = name
        self.window = Window("", window_bytes)
        self.kind = ContentKind.BINARY
        self.ttl_s = -1
        self.is_closed = False
        self.is_deleted = False
        self.is_ready = False
        self.version = 0
        self.readers = 0
        self._waiting: dict[asyncio.Future[None], None] = {}

    @property
    def tail(self) -> str:
        """The newest offset this process knows of."""
        return self.window.tail

    def statistics(self) -> FeedStatistics:
        """Gauges; cost O(1)."""
        return FeedStatistics(self.readers, len(self._waiting), self.window.statistics())

    def begin(self, state: StreamState) -> None:
        """Start, or start anew, at a stream's tail as the log tells it."""
        self.window.reset(state.tail_offset)
        self.kind = ContentKind.of(state.content_type)
        self.ttl_s = state.ttl_s
        self.is_closed = state.is_closed
        self.is_ready = True
        self._changed()

    def extend(self, events: Sequence[Event], *, is_closed: bool) -> None:
        """Take events that follow the tail directly."""
        self.window.extend(events)
        self.is_closed = self.is_closed or is_closed
        self._changed()

    def delete(self) -> None:
        """The stream is gone: readers end."""
        self.is_deleted = True
        self._changed()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self._changed()

    async def wait(self, version: int, timeout_s: float) -> bool:
        """Wait until something changed since `version`; whether it did within the time."""
        if self.version != version:
            return True
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.pop(future, None)
        return True

    def _changed(self) -> None:
        self.version += 1
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)
