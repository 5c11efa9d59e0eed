"""What happens to streams without a caller: age, expiry, and forks that were left half made.

One process of the site sweeps at a time, by a lease in Redis; every step can be repeated and can be interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from typing import Any

from redis.exceptions import OutOfMemoryError, ResponseError

from streaming import failpoints
from streaming.errors import StreamsiteError
from streaming.keys import BUCKETS, StreamKeys, bucket_tag, names_key
from streaming.log import scripts
from streaming.log.forks import PIN_SWEEP_MS, settle_pin
from streaming.log.log import Log
from streaming.log.state import StreamState

__all__ = ["Sweeper"]

SWEEP_EVERY_S = 30.0
LEASE_S = 90
LEASE_KEY = f"{bucket_tag(0)}::sweeper"
BATCH = 200
"""Names that are looked at together; between batches the loop and Redis do other work."""

logger = logging.getLogger("streamsite.log")


class Sweeper:
    """Sweeps until cancelled."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._id = secrets.token_hex(8)

    async def run(self) -> None:
        """Sweep again and again; a failure is logged and the next sweep made."""
        while True:
            await asyncio.sleep(SWEEP_EVERY_S * random.uniform(0.7, 1.3))  # noqa: S311 - jitter
            try:
                if await self._has_lease():
                    await self.sweep()
            except (StreamsiteError, ResponseError) as error:
                logger.warning("sweep.failed", extra={"error": str(error)})

    async def sweep(self) -> None:
        """Go once over all streams.

        Raises: StoreError.
        """
        for bucket in range(BUCKETS):
            shard = self._log.store.shard(bucket)
            after = b"-"
            while True:
                async with shard.connection(self._log.read_timeout_s, "sweep") as connection:
                    names = await connection.call("ZRANGEBYLEX", names_key(bucket), after, "+", "LIMIT", 0, BATCH)
                for name in names:
                    await self.sweep_stream(name.decode())
                if len(names) < BATCH:
                    break
                after = b"(" + names[-1]

    async def sweep_stream(self, name: str) -> None:
        """Do for one stream what is due: collect it, trim it, settle the marks of its forks.

        Raises: StoreError.
        """
        log, keys = self._log, StreamKeys.of(name)
        await self._settle_pins(name, keys)
        reply = await log.call(
            scripts.READ,
            keys.bucket,
            (keys.state, keys.entries, keys.forks),
            [failpoints.value("redis_time_shift_ms"), "$", 0, "", 0],
            "sweep",
            is_read=True,
        )
        if reply[0] == b"ok":
            if StreamState.from_reply(reply[1]).retention.age_s:
                arguments = [failpoints.value("redis_time_shift_ms")]
                trimmed = (keys.state, keys.entries, keys.forks)
                while await log.call(scripts.TRIM, keys.bucket, trimmed, arguments, "sweep"):
                    pass  # a call takes a bounded number
            return
        code, source, pin = await log.run_delete(name, only_expired=True)
        if code == "removed" and source:
            await log.release(source, pin)

    async def _settle_pins(self, name: str, keys: StreamKeys) -> None:
        shard = self._log.store.shard(keys.bucket)
        async with shard.connection(self._log.read_timeout_s, "sweep") as connection:
            marks: list[Any] = await connection.call("HGETALL", keys.forks)
            clock = await connection.call("TIME")
        now_ms = int(clock[0]) * 1000 + failpoints.value("redis_time_shift_ms")
        for pin, mark in zip(marks[::2], marks[1::2], strict=True):
            phase, since_ms, fork = mark.decode().split(" ", 2)
            if phase == "linked" or now_ms - int(since_ms) > PIN_SWEEP_MS:
                await settle_pin(self._log, name, pin.decode(), fork)

    async def _has_lease(self) -> bool:
        async with self._log.store.shard(0).connection(self._log.read_timeout_s, "sweep") as connection:
            try:
                if await connection.call("SET", LEASE_KEY, self._id, "NX", "EX", LEASE_S) is not None:
                    return True
            except OutOfMemoryError:
                # Sweeping frees memory, so it goes on now of all times; that others may do it as well hurts nobody.
                return await connection.call("GET", LEASE_KEY) in (None, self._id.encode())
            if await connection.call("GET", LEASE_KEY) != self._id.encode():
                return False
            await connection.call("EXPIRE", LEASE_KEY, LEASE_S)
            return True
