"""One live reader: a position that moves through a feed, and through the log where the feed's window does not reach."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from streaming.ends import EndReason
from streaming.errors import RequestError, StoreError
from streaming.events import Event
from streaming.feed.feed import Feed
from streaming.feed.follower import Follower
from streaming.log.log import Log
from streaming.log.outcome import Page

__all__ = ["FeedReader", "Run"]

RETRY_S = 0.5
"""Between tries while Redis is away; the reader stays connected."""
BEHIND_S = 0.25
"""How long a reader that is ahead of its feed waits for the feed to come along."""

_REASONS = {"stream-rewound": EndReason.REWOUND, "offset-gone": EndReason.REMOVED}


@dataclass(frozen=True, slots=True)
class Run:
    """Events that a reader gets at once.

    Args:
        next_offset: where the reader stands after them.
        is_up_to_date: nothing more was known; `is_closed`: nothing will follow.
        feed, index: where in a window they are; None for a page of the log.
    """

    events: Sequence[Event]
    next_offset: str
    is_up_to_date: bool
    is_closed: bool
    feed: Feed | None = None
    index: int = 0

    @classmethod
    def of_page(cls, page: Page) -> Run:
        """The events of a page of the log."""
        return cls(page.events, page.next_offset, page.is_up_to_date, page.is_end)

    def frames(self, form: str, encode: Callable[[Event], bytes]) -> Sequence[bytes]:
        """The frames of its events; those of a window are made once for all readers. Call before the next await."""
        if self.feed is None:
            return [encode(event) for event in self.events]
        return self.feed.window.frames(form, encode, self.index, len(self.events))


class FeedReader:
    """Reads one stream from a position on, for as long as it goes.

    Args:
        position: an offset that the log has confirmed.
        heartbeat_s: `runs` yields None after so long without anything.
        max_s: ends after so long; 0 = never.
    """

    def __init__(
        self, log: Log, follower: Follower, name: str, position: str, page_bytes: int, heartbeat_s: float, max_s: float
    ) -> None:
        self._log = log
        self._follower = follower
        self._name = name
        self._page_bytes = page_bytes
        self._heartbeat_s = heartbeat_s
        self._ends_mono = time.monotonic() + max_s if max_s else float("inf")
        self._spoke_mono = time.monotonic()
        self._drain_share = random.random()  # noqa: S311 - spreads readers out
        self.position = position
        self.reason = EndReason.GONE
        self.problem: RequestError | None = None

    async def runs(self) -> AsyncGenerator[Run | None, None]:
        """What comes, until it is over; then `reason` says why, and `problem` what to tell the reader.

        Cancellation: nothing is left behind, if the iterator is closed (`aclosing`).
        """
        self._spoke_mono = time.monotonic()
        while True:
            try:
                async with (
                    self._follower.follow(self._name, min(self._silent_s(), self._left_s())) as feed,
                    aclosing(self._from_feed(feed)) as runs,
                ):
                    async for run in runs:
                        yield run
                return
            except StoreError:
                if self._is_over():
                    return
            except RequestError as error:
                self._end(error)
                return
            if self._is_silent():
                yield None
            await asyncio.sleep(min(RETRY_S, self._silent_s()))

    async def _from_feed(self, feed: Feed) -> AsyncGenerator[Run | None, None]:
        while not self._is_over():
            version = feed.version
            if feed.is_deleted:
                self._end(RequestError(410, "stream-gone", f"the stream {self._name!r} was deleted or has expired"))
                return
            index = feed.window.index_after(self.position)
            if index is not None:
                run: Run | None = self._from_window(feed, index)
            else:
                reading = asyncio.create_task(self._from_log(), name="reader-page")
                try:
                    # Redis may take as long as a read may; the heartbeats don't wait for it.
                    while not (await asyncio.wait([reading], timeout=self._silent_s()))[0]:
                        if self._is_silent():
                            yield None
                    run = reading.result()
                finally:
                    reading.cancel()
            if run is None:
                return
            self.position = run.next_offset
            if run.events or run.is_closed:
                self._spoke_mono = time.monotonic()
                yield run
                if run.is_closed:
                    self.reason = EndReason.CLOSED
                    return
                continue
            silent_s = self._silent_s()
            if index is None:  # the feed has to come along first, or Redis has to come back
                silent_s = min(silent_s, BEHIND_S)
            await feed.wait(version, min(silent_s, self._left_s()))
            if self._is_silent():
                yield None

    def _from_window(self, feed: Feed, index: int) -> Run:
        events = feed.window.events(index, self._page_bytes)
        position = events[-1].offset if events else self.position
        is_up_to_date = position == feed.tail
        return Run(events, position, is_up_to_date, is_up_to_date and feed.is_closed, feed, index)

    async def _from_log(self) -> Run | None:
        """A page that the window does not hold, empty while Redis is away; None when there never will be one: see `problem`."""
        try:
            return Run.of_page(await self._log.read(self._name, self.position, self._page_bytes, touch=False))
        except StoreError:
            return Run((), self.position, is_up_to_date=False, is_closed=False)
        except RequestError as error:
            self._end(error)
            return None

    def end_closed(self) -> None:
        """Note that there was nothing to wait for."""
        self.reason = EndReason.CLOSED

    def end_failed(self) -> None:
        """Note that delivery broke by a fault of ours."""
        self.reason = EndReason.ERROR

    def _is_silent(self) -> bool:
        """Whether a heartbeat is due; asking counts as sending it."""
        if time.monotonic() - self._spoke_mono < self._heartbeat_s:
            return False
        self._spoke_mono = time.monotonic()
        return True

    def _silent_s(self) -> float:
        """How long it may be silent yet."""
        return max(0.001, self._spoke_mono + self._heartbeat_s - time.monotonic())

    def _left_s(self) -> float:
        return max(0.001, min(self._ends_mono, self._follower.leave_mono(self._drain_share)) - time.monotonic())

    def _is_over(self) -> bool:
        if time.monotonic() >= self._follower.leave_mono(self._drain_share):
            self.reason = EndReason.DRAINED
            return True
        if time.monotonic() >= self._ends_mono:
            self.reason = EndReason.LIFETIME
            return True
        return False

    def _end(self, error: RequestError) -> None:
        self.problem = error
        self.reason = _REASONS.get(error.slug, EndReason.DELETED)
