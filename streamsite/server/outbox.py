"""Where an answer's bytes go: straight to the socket while it takes them, else to Twisted's buffer, whose growth is felt.

Stock daphne queues everything: 500 MB to a client that does not read are 500 MB of memory. Here `is_full` tells the
sender to wait, and what waits is at most Twisted's high-water mark and one message.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any

from .transport import Transport

__all__ = ["Outbox"]

_TCP_CLOSE = 7  # the first byte of TCP_INFO (linux/tcp.h)

_HELD_BYTES = 16 * 1024
"""More is sent at once: one system call for so much costs nothing beside the bytes."""


class Outbox:
    """The sending half of a connection.

    Args:
        transport: Twisted's, plain or TLS.
        on_queued: called when the socket did not take everything, so that somebody looks whether it goes on.
    """

    __slots__ = (
        "_buffered",
        "_held",
        "_held_bytes",
        "_is_registered",
        "_on_queued",
        "_socket",
        "_transport",
        "_waiting",
        "is_full",
    )

    def __init__(self, transport: Any, on_queued: Callable[[], None]) -> None:
        self._transport = transport
        self._on_queued = on_queued
        # Exactly the plain transport: TLS has a `socket` attribute too, and sending on it would put plain text on the wire.
        self._socket = transport.socket if type(transport) is Transport else None
        self._buffered = transport if self._socket is not None else getattr(transport, "transport", transport)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_registered = False
        self._waiting: list[asyncio.Future[None]] = []
        self.is_full = False

    @property
    def has_queued(self) -> bool:
        """Whether something waits for the socket."""
        buffered = self._buffered
        return bool(buffered._tempDataLen or len(buffered.dataBuffer) > buffered.offset) or self.is_full

    @property
    def socket(self) -> Any:
        """The socket below, for its options; whatever is sent goes through `write`."""
        return self._buffered.socket

    def drained_bytes(self) -> int:
        """Rises whenever the socket takes something that had to wait; what is written meanwhile changes nothing."""
        drained: int = self._buffered.drained_bytes()
        return drained

    def unacknowledged_bytes(self) -> int:
        """What the kernel has, and the client's kernel has not."""
        raw = self.socket
        if raw.fileno() < 0:
            return 0
        size = bytearray(4)
        fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, size)
        return int.from_bytes(size, sys.byteorder)

    def is_reset(self) -> bool:
        """Whether the connection is gone below us."""
        raw = self.socket
        return raw.fileno() < 0 or bool(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)

    def write(self, data: bytes) -> None:
        """Send, or queue what can't be sent yet; look at `is_full` afterwards."""
        if self._held:
            data = b"".join((*self._held, data))
            self._held.clear()
            self._held_bytes = 0
        transport = self._transport
        if self._socket is not None and not transport._tempDataLen and not transport.dataBuffer:
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                # Twisted finds out when it reads, but it may not be reading.
                transport.abortConnection()
                return
            if sent == len(data):
                return
            data = data[sent:]
        if not self._is_registered:
            # Before the write: a transport asks its producer to pause only while it writes.
            self._is_registered = True
            transport.registerProducer(self, True)
        transport.write(data)
        self._on_queued()

    def write_soon(self, data: bytes) -> None:
        """As `write`, together with what else comes before the loop has its turn.

        An application that has ten events at once sends ten messages; each system call costs as much as all that leads to it.
        """
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= _HELD_BYTES:
            self.flush()
        elif len(self._held) == 1:
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Send what `write_soon` has held back."""
        if self._held:
            self.write(b"")

    async def room(self) -> None:
        """Wait until there is room, or the connection is gone."""
        while self.is_full:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)

    def release(self) -> None:
        """Take our hands off the transport: it closes, or gets another protocol."""
        self.flush()
        if self._is_registered:
            self._is_registered = False
            self._transport.unregisterProducer()
        self.resumeProducing()

    # What Twisted calls (IPushProducer)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted names it
        """The buffer is above its high-water mark."""
        self.is_full = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted names it
        """The buffer is empty."""
        self.is_full = False
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted names it
        """The connection is gone."""
        self._is_registered = False
        self.resumeProducing()
