"""The receiving half of one request: its body, under a limit, and then the news that the client is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from streamsite.types import Receive

__all__ = ["BodyTooLarge", "Intake"]


class BodyTooLarge(Exception):
    """The body is longer than the site takes; the text says how long and what is allowed."""


class Intake:
    """Owns `receive`, which only one task may call.

    Nothing is received before somebody asks for the body. A request that is refused for its path or its declared
    length is answered without having been read, and its sender gets no `100 Continue`.

    Args:
        receive: the request's ASGI channel.
        max_bytes: the longest body that is kept.
        headers: of the request, as in its scope.
    """

    def __init__(
        self,
        receive: Receive,
        *,
        max_bytes: int,
        headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self._receive = receive
        self._max_bytes = max_bytes
        self._declared_bytes = _declared_length(headers)
        self._body = b""
        self._size = 0
        self._is_wanted = asyncio.Event()
        self._is_settled = asyncio.Event()
        self.is_client_gone = False

    async def body(self) -> bytes:
        """The whole body.

        Raises: BodyTooLarge: at once if the header says so, else as soon as the limit is passed; the rest is not read.
        Cancellation: by the client that leaves before its body is complete.
        """
        if self._declared_bytes is not None and self._declared_bytes > self._max_bytes:
            raise BodyTooLarge(f"the body has {self._declared_bytes} bytes, at most {self._max_bytes} are allowed")
        self._is_wanted.set()
        await self._is_settled.wait()
        if self._size > self._max_bytes:
            raise BodyTooLarge(f"the body has more than the {self._max_bytes} bytes that are allowed")
        return self._body

    async def run(self, *, on_gone: Callable[[], object]) -> None:
        """Receive until the client is gone, then call `on_gone` once; the request's handler cancels this at its end."""
        await self._is_wanted.wait()
        parts: list[bytes] = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.is_client_gone = True
                on_gone()
                return
            if self._is_settled.is_set():  # the body is complete: nothing but the end can follow
                continue
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > self._max_bytes:
                # Receiving no further is what makes the server stop reading.
                self._is_settled.set()
                return
            parts.append(part)
            if not message.get("more_body", False):
                self._body = parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                self._is_settled.set()


def _declared_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Content-Length, if there is one that is a number; refusing a malformed one is the server's duty."""
    for name, value in headers:
        # 19 digits hold every length that there is, and keep int() from being asked to read megabytes of digits.
        if name == b"content-length" and value.isdigit() and len(value) <= 19:
            return int(value)
    return None
