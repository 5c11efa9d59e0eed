"""The look at every Redis each second."""

from __future__ import annotations

import asyncio

from prometheus_client import REGISTRY

from observability import metrics
from streaming.log.log import Log
from streaming.store_watch import watch_store
from streaming.tasks import own_task
from tests.support.deadlines import bound

_LIMIT_BYTES = 1 << 30


async def test_memory_is_that_of_all_nodes_together(log: Log) -> None:
    """A Cluster's nodes are added up, and a connection that is made to one of them does not hide the others."""
    for shard in log.store.shards:
        async with shard.connection(bound(1.0), "test") as connection:
            await connection.call("CONFIG", "SET", "maxmemory", _LIMIT_BYTES)
    metrics.log_limit_bytes.set(0)
    task = own_task(watch_store(log.store), "store-watch")
    expected = _LIMIT_BYTES * len(log.store.shards)
    async with asyncio.timeout(bound(1.0)):
        while REGISTRY.get_sample_value("stream_log_limit_bytes") != expected:  # noqa: ASYNC110 - a gauge has no event
            await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await (await log.store.shards[0].connect()).close()
    assert REGISTRY.get_sample_value("stream_log_limit_bytes") == expected
    assert (REGISTRY.get_sample_value("stream_log_bytes") or 0) > 0
    for shard in log.store.shards:
        async with shard.connection(bound(1.0), "test") as connection:
            await connection.call("CONFIG", "SET", "maxmemory", 0)
