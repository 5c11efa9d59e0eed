"""Connections: what a failure is called, and which data the site refuses to touch."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streaming.errors import StoreError
from streaming.keys import BUCKETS, FORMAT_KEY, bucket_tag
from streaming.log.listing import list_names
from streaming.log.log import Log
from streaming.server_facts import UnsafeStoreError
from streaming.store import DATA_FORMAT, Store
from tests.streaming.log.scene import append, create, open_log, raw, read_all, texts
from tests.support.deadlines import bound
from tests.support.redis_server import RedisCluster, RedisServer
from tests.support.tcpx import Tcpx


async def test_new_data_are_marked_with_their_format(own_server: RedisServer) -> None:
    """The key is there from the first start on."""
    async with open_log(own_server.url):
        pass
    with own_server.client() as client:
        assert client.get(FORMAT_KEY) == b"%d" % DATA_FORMAT


@pytest.mark.parametrize("found", ["2", "999", "x"])
async def test_data_of_another_format_are_refused(own_server: RedisServer, found: str) -> None:
    """An older site must not write into newer data."""
    with own_server.client() as client:
        client.set(FORMAT_KEY, found)
    store = Store(own_server.url)
    with pytest.raises(UnsafeStoreError, match=f"have format {found}, this version of streamsite knows 1"):
        await store.open(bound(1.0))
    await store.close()


async def test_full_server_can_be_opened(own_server: RedisServer) -> None:
    """A site that is restarted while memory is full goes on reading."""
    async with open_log(own_server.url) as log:
        await create(log, "full")
        await append(log, "full", b"x")
    with own_server.client() as client:
        client.config_set("maxmemory", 1)
    async with open_log(own_server.url) as log:
        assert texts(await read_all(log, "full")) == ["x"]


@pytest.mark.parametrize(
    ("setting", "word"),
    [(("maxmemory", "1"), "used memory"), (("min-replicas-to-write", "1"), "replicas"), (None, "permission")],
)
async def test_new_server_that_takes_no_write_is_refused(
    own_server: RedisServer, setting: tuple[str, str] | None, word: str
) -> None:
    """Where there is no log yet and none can begin, the reason is said in one line, whatever it is."""
    with own_server.client() as client:
        if setting is None:
            client.execute_command("ACL", "SETUSER", "default", "-set")
        else:
            client.config_set(*setting)
    store = Store(own_server.url)
    with pytest.raises(UnsafeStoreError, match=f"this Redis holds no log yet.*{word}") as caught:
        await store.open(bound(1.0))
    assert "\n" not in str(caught.value)
    await store.close()


async def test_server_that_is_away_is_unavailable(own_server: RedisServer) -> None:
    """Nothing was sent, and the error says so; afterwards the next call succeeds."""
    async with open_log(own_server.url) as log:
        await create(log, "away")
        await asyncio.to_thread(own_server.kill)
        with pytest.raises(StoreError) as caught:
            await log.state("away")
        assert (caught.value.status, caught.value.slug, caught.value.headers) == (
            503,
            "store-unavailable",
            {"Retry-After": "1"},
        )
        assert not log.store.is_up
        await asyncio.to_thread(own_server.restart)
        async with asyncio.timeout(bound(1.0)):
            while True:
                with contextlib.suppress(StoreError):
                    await log.state("away")
                    break
                await asyncio.sleep(0.02)
        assert log.store.is_up


async def test_known_absence_fails_at_once(own_server: RedisServer) -> None:
    """While a server is away one probe at a time is made, and everybody else is told without waiting."""
    with Tcpx(("127.0.0.1", own_server.port or 0)) as proxy:
        async with open_log(proxy.redis_url) as log:
            proxy.cut()
            results = await asyncio.gather(*(list_names(log, "", "", 1) for _ in range(5)), return_exceptions=True)
            assert all(isinstance(result, StoreError) for result in results)
            began = asyncio.get_running_loop().time()
            results = await asyncio.gather(*(list_names(log, "", "", 1) for _ in range(200)), return_exceptions=True)
            assert all(isinstance(result, StoreError) for result in results)
            assert asyncio.get_running_loop().time() - began < bound(0.2)


async def test_cancelled_call_never_leaves_its_reply_to_the_next(one_log: Log, name: str) -> None:
    """A connection that was in the middle of a round trip is thrown away."""
    await create(one_log, name)
    shard = one_log.store.shard(0)

    async def blocked() -> None:
        async with shard.connection(bound(2.0), "test") as connection:
            await connection.call("BLPOP", "nothing", 5)

    task = asyncio.create_task(blocked())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    for n in range(20):
        assert await raw(one_log, name, "ECHO", str(n)) == b"%d" % n


async def test_buckets_are_on_the_node_that_holds_their_slot(store: Store, server: RedisServer | RedisCluster) -> None:
    """Every bucket's server answers for it without a redirection."""
    for bucket in range(0, BUCKETS, 16):
        async with store.shard(bucket).connection(bound(1.0), "test") as connection:
            await connection.call("EXISTS", bucket_tag(bucket))
    assert len(store.shards) == (3 if isinstance(server, RedisCluster) else 1)


async def test_moved_slot_is_followed(log: Log, name: str) -> None:
    """After a stale map, a call asks the Cluster again and goes to the right node; an append says that it was not done."""
    if not log.store.is_cluster:
        return
    await create(log, name)
    by_bucket = log.store._by_bucket
    assert by_bucket is not None
    log.store._by_bucket = by_bucket[128:] + by_bucket[:128]
    assert (await log.state(name)).count == 0
    log.store._by_bucket = by_bucket[128:] + by_bucket[:128]
    async with asyncio.timeout(bound(1.0)):
        while True:
            try:
                await append(log, name, b"x")
                break
            except StoreError as error:
                assert error.slug == "store-unavailable"  # noqa: PT017
    assert texts(await read_all(log, name)) == ["x"]
