"""Twisted's TCP transport, read by the event loop itself.

The reactor wraps each read into a logging context and three calls, which together cost as much as parsing a request.
Everything else about the transport is Twisted's: writing, closing, TLS on top of it.
"""

from __future__ import annotations

import asyncio
import logging
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM, errorcode
from typing import Any

from twisted.internet import main, tcp

from .room import Room

__all__ = ["Port", "Transport"]

_READ_BYTES = 64 * 1024
_ACCEPTS = 16
"""In one pass of the loop: workers share the socket, and each should get some."""
_EXHAUSTED = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})

_logger = logging.getLogger("streamsite.server")


class Transport(tcp.Server):
    """One accepted connection.

    The reader is removed before the socket is closed, always: uvloop aborts the process otherwise, and a later socket
    with the same number would never hear of its bytes.
    """

    protocol: Any
    server: Any
    _is_reading = False
    _queued_bytes = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.server.room.enter()

    def startReading(self) -> None:  # noqa: N802 - Twisted names it
        """Let bytes come."""
        if not self._is_reading:
            self._is_reading = True
            _loop(self).add_reader(self.socket.fileno(), self._on_readable)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted names it
        """Called by Twisted at the end, and sometimes twice."""
        is_first = hasattr(self, "protocol")
        try:
            super().connectionLost(reason)
        finally:
            if is_first:
                self.server.room.leave()

    def stopReading(self) -> None:  # noqa: N802 - Twisted names it
        """Leave them in the kernel."""
        if self._is_reading:
            self._is_reading = False
            _loop(self).remove_reader(self.socket.fileno())

    def write(self, data: bytes) -> None:
        """Send at once what the socket takes; TLS and WebSocket come this way, plain HTTP has its `Outbox`.

        Twisted's waits for the next pass of the loop, and has the loop watch the socket for it.
        """
        is_open = self.connected and not self.disconnecting and not self._writeDisconnected
        if is_open and not self._tempDataLen and not self.dataBuffer:
            try:
                sent = self.socket.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.abortConnection()  # type: ignore[no-untyped-call]  # Twisted finds out when it reads, but it may not be reading
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._queued_bytes += len(data)
        super().write(data)  # type: ignore[no-untyped-call]

    def drained_bytes(self) -> int:
        """How much of what had to wait the socket has taken, ever."""
        return self._queued_bytes - self._tempDataLen - len(self.dataBuffer) + self.offset

    def _on_readable(self) -> None:
        why: Any
        try:
            data = self.socket.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            why = main.CONNECTION_LOST
        else:
            if data:
                try:
                    self.protocol.dataReceived(data)
                except Exception as error:
                    _logger.exception("connection.failed")
                    why = error
                else:
                    return
            else:
                why = main.CONNECTION_DONE
        self.stopReading()
        self.reactor._disconnectSelectable(self, why, True)


class Port(tcp.Port):
    """A listening socket whose connections are `Transport`s."""

    transport: Any = Transport
    factory: Any
    room: Room

    def doRead(self) -> None:  # noqa: N802 - Twisted names it
        """Accept what is there and has room."""
        for _ in range(_ACCEPTS):
            if not self.room.has_room():
                return
            try:
                raw, client = self.socket.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self.room.pause(errorcode[error.errno])
                # Else nobody waits any more, or the one who did has left: the loop calls when there is another.
                return
            try:
                self._begin(raw, client)
            except Exception:  # one connection that can't be had must not close the port
                _logger.exception("connection.failed")
                raw.close()

    def _begin(self, raw: Any, client: Any) -> None:
        protocol = self.factory.buildProtocol(self._buildAddr(client))  # type: ignore[no-untyped-call]
        self.sessionno += 1
        protocol.makeConnection(self.transport(raw, protocol, client, self, self.sessionno, self.reactor))


def _loop(transport: Transport) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = transport.reactor._asyncioEventloop
    return loop
