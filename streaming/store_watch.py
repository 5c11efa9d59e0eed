"""A look at every Redis each second: is it up, how full is it, does its disk still take what it writes."""

from __future__ import annotations

import asyncio
import logging

from redis.exceptions import ResponseError

from observability import metrics
from streaming.errors import StoreError
from streaming.server_facts import SAFE_POLICIES, parse_info
from streaming.store import Shard, Store

__all__ = ["watch_store"]

LOOK_EVERY_S = 1.0
ANSWER_WITHIN_S = 1.0
"""A stopped Redis is noticed within two seconds, also by a site that nobody asks for anything."""

logger = logging.getLogger("streamsite.redis")


async def watch_store(store: Store) -> None:
    """Keep the gauges of the store true; runs until cancelled."""
    is_unsafe = False
    while True:
        looks = await asyncio.gather(*(_look(shard) for shard in store.shards))
        if found := [look for look in looks if look is not None]:
            metrics.log_bytes.set(sum(int(info.get("used_memory", 0)) for info in found))
            metrics.log_limit_bytes.set(sum(int(info.get("maxmemory", 0)) for info in found))
            is_written = all(info.get("aof_last_write_status", "ok") == "ok" for info in found)
            metrics.redis_aof_last_write_ok.set(int(is_written))
            unsafe = {info.get("maxmemory_policy", "noeviction") for info in found} - SAFE_POLICIES
            if unsafe and not is_unsafe:
                logger.error("redis.unsafe_policy", extra={"policy": ", ".join(sorted(unsafe))})
            is_unsafe = bool(unsafe)
        await asyncio.sleep(LOOK_EVERY_S)


async def _look(shard: Shard) -> dict[str, str] | None:
    try:
        async with shard.connection(ANSWER_WITHIN_S, "looking at Redis") as connection:
            memory, persistence = await connection.call_many([("INFO", "memory"), ("INFO", "persistence")])
    except (StoreError, ResponseError):
        return None
    if isinstance(memory, ResponseError) or isinstance(persistence, ResponseError):
        return None
    return parse_info(memory + persistence)
