"""A cheap HTTP/1.1 client for load: many connections in one process, bodies as they arrive.

It knows what our server sends and no more (Content-Length, chunked, neither); other clients test the protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Self

__all__ = ["Connection", "Response", "TruncatedError"]

_LIMIT_BYTES = 4 * 1024 * 1024
"""Of one line and of what is buffered; an SSE reader of a whole page needs some."""


class TruncatedError(ConnectionError):
    """The connection ended in the middle of an answer."""


@dataclass(frozen=True)
class Response:
    """The head of an answer; the body is read from the connection."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""


class Connection:
    """One connection, one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> None:
        self._reader = reader
        self._writer = writer
        self._host = host
        self._has_body = True
        self._headers: Mapping[str, str] = {}
        self.is_reusable = True

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect."""
        reader, writer = await asyncio.open_connection(host, port, limit=_LIMIT_BYTES)
        return cls(reader, writer, f"{host}:{port}")

    async def ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Response:
        """Send a request and read the head of its answer.

        Raises:
            TruncatedError: the server closed before the head was complete.
            OSError: the connection broke.
        """
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        await self._writer.drain()
        head = await self._until(b"\r\n\r\n")
        status_line, *fields = head[:-4].decode("latin-1").split("\r\n")
        received = {}
        for text in fields:
            name, _, value = text.partition(":")
            received[name.strip().lower()] = value.strip()
        status = int(status_line.split(" ", 2)[1])
        self._headers = received
        self._has_body = method != "HEAD" and status not in (204, 304)
        self.is_reusable = received.get("connection", "").lower() != "close"
        return Response(status, received)

    async def body(self) -> bytes:
        """The whole body of the last answer."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body of the last answer as it arrives.

        Raises: TruncatedError: the connection ended before the body did.
        """
        if not self._has_body:
            return
        if self._headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._until(b"\r\n")).split(b";")[0], 16):
                yield (await self._exactly(size + 2))[:-2]
            while await self._until(b"\r\n") != b"\r\n":
                pass  # trailers
        elif "content-length" in self._headers:
            yield await self._exactly(int(self._headers["content-length"]))
        else:
            self.is_reusable = False
            while chunk := await self._reader.read(65536):
                yield chunk

    def close(self) -> None:
        """Drop the connection at once."""
        self._writer.transport.abort()

    async def _until(self, separator: bytes) -> bytes:
        try:
            return await self._reader.readuntil(separator)
        except asyncio.IncompleteReadError as error:
            raise TruncatedError(f"ended after {len(error.partial)} bytes") from error

    async def _exactly(self, size: int) -> bytes:
        try:
            return await self._reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            raise TruncatedError(f"ended after {len(error.partial)} of {size} bytes") from error
