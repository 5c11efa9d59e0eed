"""The data path of streamsite: log, feed, wire formats and the HTTP interface.

Any Django code may append to a stream:

    import streaming
    await streaming.append("orders/eu", b'{"id": 7}', type="created")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streaming.log.outcome import Appended

__all__ = ["append"]


async def append(stream: str, data: bytes | str, *, type: str = "message", durability: str = "") -> Appended:
    """Append one event to an existing stream and return once it is acknowledged.

    Args:
        stream: the stream's name, as in its URL, decoded.
        data: the event; for a JSON stream one JSON document, kept byte for byte (an array is one event here).
        type: the event type that EventSource readers see.
        durability: ask for more than the site's default: `written`, `fsynced` or `replicated:N`.

    Raises:
        RequestError: the stream does not exist, is closed, or the data don't fit it.
        StoreError: Redis refused, or the outcome is unknown; the append is never repeated here.

    Cancellation: the event is appended, or not.
    """
    from streaming import runtime
    from streaming.log.refusals import counted_appends

    with counted_appends():
        site = await runtime.serving()
        return await site.appender.append(stream, data, type, durability)
