"""Twisted's TCP transport, read by the event loop itself.

The reactor wraps each read into a logging context and three calls, which together cost as much as parsing a request.
Everything else about the transport is Twisted's: writing, closing, TLS on top of it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from twisted.internet import main, tcp

__all__ = ["Port", "Transport"]

_READ_BYTES = 64 * 1024

_logger = logging.getLogger("streamsite.server")


class Transport(tcp.Server):
    """One accepted connection.

    The reader is removed before the socket is closed, always: uvloop aborts the process otherwise, and a later socket
    with the same number would never hear of its bytes.
    """

    protocol: Any
    _is_reading = False

    def startReading(self) -> None:  # noqa: N802 - Twisted names it
        """Let bytes come."""
        if not self._is_reading:
            self._is_reading = True
            _loop(self).add_reader(self.socket.fileno(), self._on_readable)

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
        super().write(data)  # type: ignore[no-untyped-call]

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

    transport = Transport


def _loop(transport: Transport) -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = transport.reactor._asyncioEventloop
    return loop
