"""/livez, /readyz: is the loop alive, and can it read the log in time."""

from __future__ import annotations

import asyncio

import orjson
from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError

from observability import metrics
from streaming import runtime
from streaming.api.problems import with_problems
from streaming.errors import StreamsiteError

__all__ = ["livez", "readyz"]

READ_WITHIN_S = 2.0


async def livez(_request: HttpRequest) -> HttpResponse:
    """The loop lives; Redis has no say in it, for restarting the site would not mend Redis."""
    return HttpResponse("ok", content_type="text/plain", headers={"Cache-Control": "no-store"})


@with_problems
async def readyz(request: HttpRequest) -> HttpResponse:
    """Whether requests should be sent here: a read of Redis answers in time, and the site does not drain.

    Refused writes leave it ready, because reading goes on; `?verbose` says so.
    """
    facts = {"redis": "down", "writes": "unknown", "draining": False}
    try:
        async with asyncio.timeout(READ_WITHIN_S):
            site = await runtime.get()
            facts["draining"] = site.is_draining
            async with site.store.shard(0).connection(READ_WITHIN_S, "readyz") as connection:
                info = (await connection.call("INFO", "persistence")).decode()
                memory = (await connection.call("INFO", "memory")).decode()
        is_safe = "maxmemory_policy:noeviction" in memory
        facts["redis"] = "up" if is_safe else "unsafe maxmemory-policy: keys may be evicted; set noeviction"
        is_writable = "aof_last_write_status:err" not in info and "rdb_last_bgsave_status:err" not in info
        metrics.redis_aof_last_write_ok.set(int("aof_last_write_status:err" not in info))
        facts["writes"] = "accepted" if is_writable else "refused"
        is_ready = is_safe and not site.is_draining
    except (StreamsiteError, OSError, RedisError, TimeoutError) as error:
        facts["reason"] = str(error) or type(error).__name__
        is_ready = False
    status = 200 if is_ready else 503
    if "verbose" in request.GET:
        body = orjson.dumps(facts)
        return HttpResponse(body, status=status, content_type="application/json", headers={"Cache-Control": "no-store"})
    return HttpResponse(
        "ok" if is_ready else "not ready",
        status=status,
        content_type="text/plain",
        headers={"Cache-Control": "no-store"},
    )
