"""Time limits: one task looks at all connections, for a timer each would cost more than the requests.

It looks at the clock of the loop, which no change of the wall clock moves.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .connection import Connection
    from .exchange import Exchange
    from .http2 import Http2Connection

__all__ = ["Watch"]

PERIOD_S = 0.25
_TCP_ESTABLISHED = 1  # the first byte of TCP_INFO (linux/tcp.h)
_SLICE = 1000
"""Connections that are looked at before the loop gets its turn: 50 ns each, and more for those whose time has come."""

_logger = logging.getLogger("streamsite.server")


class Watch:
    """Looks after connections and applications of one server.

    Args:
        connections, exchanges: those there are now.
        leave_s: how long an application may go on after its client has left.
    """

    def __init__(
        self,
        connections: Callable[[], Iterable[Connection | Http2Connection]],
        exchanges: Callable[[], Iterable[Exchange]],
        leave_s: float,
    ) -> None:
        self._connections = connections
        self._exchanges = exchanges
        self._leave_s = leave_s
        self._held: set[Connection | Http2Connection] = set()

    def look_after(self, connection: Connection | Http2Connection) -> None:
        """It is not read from any more, so nothing else would tell that its client has left."""
        self._held.add(connection)

    def forget(self, connection: Connection | Http2Connection) -> None:
        """It is read from again, or gone."""
        self._held.discard(connection)

    async def run(self) -> None:
        """Look, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                for connection in list(self._held):
                    self._guarded(self._check_held, connection)
                await self._check_times(loop)
                self._check_left(loop.time())
            except Exception:
                # Without it no time limit would hold any more.
                _logger.exception("watch.failed")

    @staticmethod
    def _guarded(
        look: Callable[[Connection | Http2Connection], None], connection: Connection | Http2Connection
    ) -> None:
        """Look at one connection; a fault of ours in it must not end the limits of all others."""
        try:
            look(connection)
        except Exception:
            _logger.exception("watch.failed")
            connection.abort()

    @staticmethod
    def _check_held(connection: Connection | Http2Connection) -> None:
        """End a connection whose client has closed it, with bytes before the end that we don't read.

        Twisted, like everybody, sees the end of a connection only by reading up to it.
        """
        raw = connection.outbox.socket
        if raw.fileno() >= 0 and raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_ESTABLISHED:
            connection.abort()

    async def _check_times(self, loop: asyncio.AbstractEventLoop) -> None:
        now_mono = loop.time()
        for number, connection in enumerate(list(self._connections()), 1):
            if connection.check_mono <= now_mono:
                self._guarded(lambda each: each.check(now_mono), connection)
            if number % _SLICE == 0:
                await asyncio.sleep(0)

    def _check_left(self, now_mono: float) -> None:
        for exchange in list(self._exchanges()):
            if exchange.is_gone and now_mono - exchange.left_mono > self._leave_s and exchange.task is not None:
                _logger.warning("application.cancelled", extra={"path": exchange.head.path, "after_s": self._leave_s})
                exchange.left_mono = float("inf")
                exchange.task.cancel()
