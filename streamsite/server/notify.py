"""Tell systemd how it goes, where it asks (`Type=notify`); sd_notify(3), without its library."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

__all__ = ["Notifier"]


class Notifier:
    """Sends states to the socket that the environment names; does nothing without one.

    The variables are taken out of the environment: what the children say is no business of systemd's.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address  # an abstract socket
        watchdog_us = os.environ.pop("WATCHDOG_USEC", "")
        self._every_s = int(watchdog_us) / 2e6 if watchdog_us.isdecimal() and address else float("inf")
        self._due_mono = 0.0

    def ready(self) -> None:
        """The site accepts, for the first time or again after a reload."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Workers are being replaced."""
        # systemd wants the time, to tell this reload from the one before.
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._send("STOPPING=1")

    def alive(self, now_mono: float) -> None:
        """Call often; it is passed on half as often as systemd's watchdog asks."""
        if now_mono >= self._due_mono and self._every_s != float("inf"):
            self._due_mono = now_mono + self._every_s
            self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender, suppress(OSError):
            sender.sendto(state.encode(), self._address)  # a systemd that is gone must not stop the site
