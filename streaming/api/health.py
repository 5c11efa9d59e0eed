"""/livez, /readyz: is the loop alive, and can it read the log in time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
from django.http import HttpRequest, HttpResponse
from redis.exceptions import RedisError, ResponseError

from observability import metrics
from streaming import runtime
from streaming.api.problems import with_problems
from streaming.errors import StreamsiteError
from streaming.runtime import Runtime
from streaming.server_facts import SAFE_POLICIES, parse_info

__all__ = ["judge_writes", "livez", "readyz"]

READ_WITHIN_S = 2.0
_CONFIG = ("min-replicas-to-write", "stop-writes-on-bgsave-error", "save")
"""What decides about writes and is not in INFO. One by one: before Redis 7.0 CONFIG GET takes one name."""


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
            info, config = await _ask(site)
        is_safe = info.get("maxmemory_policy", "noeviction") in SAFE_POLICIES
        facts["redis"] = "up" if is_safe else "unsafe maxmemory-policy: keys may be evicted; set noeviction"
        facts["writes"], reason = judge_writes(info, config)
        if reason:
            facts["reason"] = reason
        metrics.redis_aof_last_write_ok.set(int(info.get("aof_last_write_status", "ok") == "ok"))
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


def judge_writes(info: Mapping[str, str], config: Mapping[str, str]) -> tuple[str, str]:
    """Whether Redis takes writes now, as it decides that itself.

    Args:
        info: fields of INFO.
        config: of `_CONFIG`; empty where CONFIG is forbidden, as it is on managed services.

    Returns: accepted, refused or unknown; and why, unless they are accepted.
    """
    if info.get("aof_last_write_status") == "err":
        return "refused", "it could not write its append-only file"
    limit = int(info.get("maxmemory", 0))
    if 0 < limit < int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0)):
        return "refused", "its memory is full"
    if (replicas := info.get("min_slaves_good_slaves")) is not None:  # there only if it wants any
        wanted = int(config.get("min-replicas-to-write", 1))
        if int(replicas) < wanted:
            return "refused", f"it has {replicas} of the replicas that it wants, {wanted}"
        if not config:
            return "unknown", f"it has {replicas} replicas, and does not let this site see how many it wants"
    if info.get("rdb_last_bgsave_status") == "err":
        if not config:
            return (
                "unknown",
                "its last snapshot failed, and it does not let this site see whether it therefore stops writes",
            )
        if config.get("stop-writes-on-bgsave-error") == "yes" and config.get("save"):
            return "refused", "its last snapshot failed"
    return "accepted", ""


async def _ask(site: Runtime) -> tuple[dict[str, str], dict[str, str]]:
    """INFO and CONFIG of the first shard.

    Raises: StreamsiteError, RedisError: it does not answer, or refuses INFO.
    """
    commands = [("INFO",), *(("CONFIG", "GET", name) for name in _CONFIG)]
    async with site.store.shard(0).connection(READ_WITHIN_S, "readyz", is_read=True) as connection:
        info, *settings = await connection.call_many(commands)
    if isinstance(info, ResponseError):
        raise info
    found = [setting for setting in settings if not isinstance(setting, ResponseError)]
    return parse_info(info), {name.decode(): value.decode() for name, value in found}
