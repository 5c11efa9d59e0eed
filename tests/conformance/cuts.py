"""A connection that breaks in the middle, again and again, while events are published past it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.support.deadlines import eventually
from tests.support.tcpx import Tcpx

__all__ = ["APPEND", "CUTS_BYTES", "READ", "publish_through_cuts"]

_T = TypeVar("_T")

READ = b"GET /V1/STREAM/"
APPEND = b"POST /V1/STREAM/"
"""How the proxy knows the connections of readers and of publishers."""
CUTS_BYTES = (0, 1, 300, 900, 1200, 1500, 2300, 4000)
"""After so many bytes of an answer its connection is reset: in the status line, in the header, inside and between frames."""
_RECONNECT_S = 10.0


def publish_through_cuts(
    proxy: Tcpx, append: Callable[[_T], None], events: Sequence[_T], cuts_bytes: Sequence[int] = CUTS_BYTES
) -> None:
    """Publish in parts, and before each part break the reader's connection and cut the one that it then opens.

    Args:
        proxy: between server and reader, which reads already; it must know the mark `READ`.
        append: publishes one event, by another way.
        events: oldest first.
        cuts_bytes: how far into an answer each cut comes.

    Raises: AssertionError: the reader did not come back.
    """
    count = len(cuts_bytes) + 1
    first, *others = (events[len(events) * n // count : len(events) * (n + 1) // count] for n in range(count))
    _publish(append, first)
    eventually(lambda: proxy.count(READ), _RECONNECT_S, "the reader is connected")
    for number, (after_bytes, part) in enumerate(zip(cuts_bytes, others, strict=True), start=1):
        proxy.drop_reply(READ, after_bytes=after_bytes)
        proxy.reset()
        _publish(append, part)
        eventually(lambda: proxy.dropped_replies() >= number, _RECONNECT_S, f"the reader is back, time {number}")  # noqa: B023


def _publish(append: Callable[[_T], None], events: Sequence[_T]) -> None:
    for event in events:
        append(event)
