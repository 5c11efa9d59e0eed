"""The receiving half of one request: its body, under a limit, and then the news that the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from streamsite.types import ON_LEAVE, Receive, Scope

__all__ = ["BodyTooLarge", "Intake", "declared_length"]


class BodyTooLarge(Exception):
    """The body is longer than the site takes; the text says how long and what is allowed."""


class Intake:
    """Owns `receive`, which nobody else may call.

    Nothing is received before somebody asks for the body. A request that is refused for its path or its declared
    length is answered without having been read, and its sender gets no `100 Continue`.

    Args:
        scope: of the request.
        receive: the request's ASGI channel.
        max_bytes: the longest body that is kept.
        on_gone: called once, when the client leaves; has to cancel the task that asks for the body.
    """

    def __init__(self, scope: Scope, receive: Receive, *, max_bytes: int, on_gone: Callable[[], object]) -> None:
        self._scope = scope
        self._receive = receive
        self._max_bytes = max_bytes
        self._on_gone = on_gone
        self._watch: asyncio.Task[None] | None = None
        self.is_client_gone = False
        on_leave = scope.get("extensions", {}).get(ON_LEAVE)
        self._is_told = on_leave is not None
        if on_leave is not None:
            on_leave(self._gone)

    async def body(self) -> bytes:
        """The whole body; asked for once.

        Raises: BodyTooLarge: at once if the header says so, else as soon as the limit is passed; the rest is not read.
        Cancellation: by the client that leaves before its body is complete.
        """
        declared_bytes = declared_length(self._scope["headers"])
        if declared_bytes is not None and declared_bytes > self._max_bytes:
            raise BodyTooLarge(f"the body has {declared_bytes} bytes, at most {self._max_bytes} are allowed")
        parts: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone()
                await asyncio.sleep(0)  # ends here, as every wait of the request's task does when the client leaves
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._max_bytes:
                # Receiving no further is what makes the server stop reading.
                raise BodyTooLarge(f"the body has more than the {self._max_bytes} bytes that are allowed")
            parts.append(part)
            if not message.get("more_body", False):
                break
        if not self._is_told:
            self._watch = asyncio.create_task(self._wait_for_end())
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """The request is answered: nobody needs to know any more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _wait_for_end(self) -> None:
        """Receive until the client is gone."""
        # The body is complete: nothing but the end can follow.
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        if not self.is_client_gone:
            self.is_client_gone = True
            self._on_gone()


def declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Content-Length, if there is one that is a number; refusing a malformed one is the server's duty."""
    for name, value in headers:
        # 19 digits hold every length that there is, and keep int() from being asked to read megabytes of digits.
        if name == b"content-length" and value.isdigit() and len(value) <= 19:
            return int(value)
    return None
