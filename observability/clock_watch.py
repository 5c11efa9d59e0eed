"""Tell of a wall clock that jumps: offsets and deadlines do not follow it, but certificates, tokens and log lines do."""

from __future__ import annotations

import asyncio
import logging
import time

__all__ = ["watch_clock"]

PERIOD_S = 1.0
JUMP_S = 2.0
"""A clock that is slewed drifts by milliseconds a second; more than this was set."""

_logger = logging.getLogger("streamsite.clock")


async def watch_clock() -> None:
    """Compare the wall clock with the monotonic one, until cancelled; a jump is one line."""
    distance_s = time.time() - time.monotonic()
    while True:
        await asyncio.sleep(PERIOD_S)
        now_s = time.time() - time.monotonic()
        if abs(now_s - distance_s) > JUMP_S:
            _logger.warning("clock.jump", extra={"seconds": round(now_s - distance_s, 3)})
        distance_s = now_s
