"""What a server says of itself, on every version, and which ones a log is not kept on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streaming.errors import StoreError
from streaming.log.log import Log
from streaming.server_facts import ServerFacts, UnsafeStoreError, check_safe, parse_info
from streaming.store import Store
from tests.support.deadlines import bound
from tests.support.redis_server import RedisCluster, RedisServer

SAFE = ServerFacts("id", (7, 0), "Redis", False, "noeviction", True, False, False, 2, 0)


async def test_facts_are_what_the_server_is(log: Log, server: RedisServer | RedisCluster) -> None:
    """Kind, version, mode, policy and what its append-only file can promise."""
    facts = log.store.shards[0].facts
    assert facts is not None
    is_valkey, numbers = server.name.startswith("valkey"), server.name.rpartition("-")[2]
    assert facts.version == tuple(int(part) for part in numbers.split("."))
    assert facts.kind == ("Valkey" if is_valkey else "Redis")
    assert facts.is_cluster == log.store.is_cluster == isinstance(server, RedisCluster)
    assert (facts.policy, facts.aof_enabled, facts.appends_fsync) == ("noeviction", True, False)
    assert facts.has_true_waitaof == facts.can_fsync() == (not is_valkey and facts.version >= (7, 2))
    assert len(facts.run_id) == 40
    assert facts.connected_replicas == 0


def test_incarnation_is_new_after_every_start(own_server: RedisServer) -> None:
    """A process that starts may have old data: its run id is another one, whatever it loaded."""
    seen = set()
    for _ in range(3):
        with own_server.client() as client:
            seen.add(client.info("server")["run_id"])
        own_server.restart()
    assert len(seen) == 3


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl", "allkeys-random"])
async def test_server_that_evicts_is_refused_with_the_remedy(own_server: RedisServer, policy: str) -> None:
    """Eviction loses acknowledged events in silence."""
    with own_server.client() as client:
        client.config_set("maxmemory-policy", policy)
    with pytest.raises(UnsafeStoreError, match=f"maxmemory-policy {policy}.*CONFIG SET maxmemory-policy noeviction"):
        await Store(own_server.url).open(bound(1.0))


def test_too_old_server_is_refused() -> None:
    """Redis 6.0 has no XTRIM MINID."""
    check_safe(SAFE)
    with pytest.raises(UnsafeStoreError, match=r"Redis 6\.0 is too old"):
        check_safe(replace(SAFE, version=(6, 0)))


async def test_replica_is_refused(own_server: RedisServer) -> None:
    """A replica takes no writes: its address is a mistake, or a failover under way."""
    with own_server.client() as client:
        client.replicaof("127.0.0.1", 1)
    with pytest.raises(StoreError, match="this Redis is a replica"):
        await Store(own_server.url).open(bound(1.0))


@pytest.mark.parametrize(
    ("aof", "always", "waitaof", "can"),
    [(True, False, True, True), (True, True, False, True), (True, False, False, False), (False, False, True, False)],
)
def test_fsync_needs_a_file_and_a_way_to_wait(aof: bool, always: bool, waitaof: bool, can: bool) -> None:
    """WAITAOF or `appendfsync always`, and an append-only file for either."""
    facts = replace(SAFE, aof_enabled=aof, appends_fsync=always, has_true_waitaof=waitaof)
    assert facts.can_fsync() is can


async def test_always_without_an_append_only_file_flushes_nothing() -> None:
    """`appendfsync always` says when the file is flushed, not that there is one."""
    with RedisServer(args=("--appendonly", "no", "--appendfsync", "always")) as server:
        store = Store(server.url)
        facts = await store.open(bound(1.0))
        await store.close()
    assert (facts.aof_enabled, facts.appends_fsync, facts.can_fsync()) == (False, False, False)


def test_info_is_read_line_by_line() -> None:
    """Sections and blank lines say nothing; a value may hold a colon."""
    assert parse_info(b"# Server\r\nrun_id:ab\r\n\r\nconfig_file:C:/x\r\n") == {"run_id": "ab", "config_file": "C:/x"}
