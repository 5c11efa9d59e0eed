"""Room for connections: when descriptors run out, no more are accepted until some are back, and what is open goes on.

A connection that is not accepted waits in the kernel's backlog, and another worker on the same socket may take it. What
Twisted does instead, accepting it with a spare descriptor to close it at once, is an error for the client, and goes
round for as long as somebody connects.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterable
from typing import Protocol

from observability import metrics

__all__ = ["Listening", "Room"]

RESERVE = 64
"""Descriptors that are not for clients: Redis, the database, files, what a library opens for a moment."""
LEAST = 16
"""Connections that are taken however low the limit is; whoever sets it so low sees the error of the kernel."""
BACK = 8
"""So many have to have left before accepting goes on, or each one that leaves would cost a pause."""
RETRY_S = 1.0
"""When to look again without one that leaves: the limit was raised, or something else gave descriptors back."""
LOG_PERIOD_S = 10.0

_logger = logging.getLogger("streamsite.server")


class Listening(Protocol):
    """A listening socket, as Twisted's ports are."""

    connected: bool

    def stopReading(self) -> None:  # noqa: N802 - Twisted names it
        """Accept no more."""

    def startReading(self) -> None:  # noqa: N802 - Twisted names it
        """Accept."""


class Room:
    """Counts the connections of a process against its limit of descriptors.

    Args:
        ports: the sockets that are listened to.
        now_mono: the clock.
        call_later: seconds and function; nothing is cancelled.
    """

    def __init__(
        self,
        ports: Callable[[], Iterable[Listening]],
        *,
        now_mono: Callable[[], float],
        call_later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._ports = ports
        self._now = now_mono
        self._call_later = call_later
        self._logged_mono = float("-inf")
        self.is_paused = False
        self.taken = 0
        """Connections that there are, whatever is spoken on them."""

    def has_room(self) -> bool:
        """Whether one more may be accepted; if not, accepting is paused."""
        if self.taken < self._limit():
            return True
        self.pause("limit")
        return False

    def enter(self) -> None:
        """A connection was accepted."""
        self.taken += 1

    def leave(self) -> None:
        """Its descriptor is back."""
        self.taken -= 1
        if self.is_paused:
            self._look()

    def pause(self, reason: str) -> None:
        """Accept no more until there is room.

        Args:
            reason: `limit`, or the name of the kernel's error.
        """
        if self.is_paused:
            return
        self.is_paused = True
        metrics.accept_pauses.inc()
        for port in self._ports():
            port.stopReading()
        if self._now() - self._logged_mono >= LOG_PERIOD_S:
            self._logged_mono = self._now()
            _logger.warning("accept.paused", extra={"reason": reason, "connections": self.taken})
        self._call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        if self.is_paused:
            self._look()
        if self.is_paused:
            self._call_later(RETRY_S, self._retry)

    def _look(self) -> None:
        if self.taken > self._limit() - BACK:
            return
        self.is_paused = False
        for port in self._ports():
            if port.connected:
                port.startReading()

    @staticmethod
    def _limit() -> int:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)  # each time: prlimit changes that of a running process
        return max(LEAST, soft - RESERVE) if soft != resource.RLIM_INFINITY else 1 << 62
