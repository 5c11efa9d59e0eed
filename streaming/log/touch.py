"""Sliding time to live: reading begins it anew, by a second call that nobody waits for."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from streaming import failpoints
from streaming.errors import StreamsiteError
from streaming.keys import StreamKeys
from streaming.log import scripts
from streaming.tasks import own_task

if TYPE_CHECKING:
    from streaming.log.log import Log

__all__ = ["Toucher"]

MAX_STREAMS = 10_000
"""That are remembered; past it the oldest half is forgotten, and at worst touched once more."""
AT_ONCE = 8
"""Half of a shard's connections: reads go on beside it."""
LOOK_EVERY_S = 0.05

logger = logging.getLogger("streamsite.log")


class Toucher:
    """Touches each stream at most 20 times in its time to live, however many read it."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._touched_mono: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def touch(self, name: str, ttl_s: int) -> None:
        """Note that somebody reads; returns at once."""
        now = time.monotonic()
        due = max(now, self._touched_mono.get(name, -1e9) + ttl_s / 20)
        self._due.setdefault(name, due)
        if self._task is None or self._task.done():
            self._task = own_task(self._run(), "touch")

    async def close(self) -> None:
        """End the task; what was due is left undone."""
        self._due.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while self._due:
            now = time.monotonic()
            due = [name for name, when in self._due.items() if when <= now]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._touch(name) for name in due[start : start + AT_ONCE]))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _touch(self, name: str) -> None:
        self._due.pop(name, None)
        self._remember(name)
        keys = StreamKeys.of(name)
        try:
            await self._log.call(
                scripts.TOUCH,
                keys.bucket,
                (keys.state, keys.entries, keys.producers, keys.forks),
                [failpoints.value("redis_time_shift_ms")],
                "touch",
            )
        except StreamsiteError as error:
            logger.debug("touch.failed", extra={"stream": name, "error": str(error)})

    def _remember(self, name: str) -> None:
        self._touched_mono.pop(name, None)
        self._touched_mono[name] = time.monotonic()
        if len(self._touched_mono) > MAX_STREAMS:
            for old in list(self._touched_mono)[: MAX_STREAMS // 2]:
                del self._touched_mono[old]
