"""A full, read-only, restarted, rewound and emptied Redis: nothing half-written, nothing lost in silence."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from streaming.durability import WRITTEN, Durability
from streaming.keys import StreamKeys
from streaming.log.log import Log
from streaming.log.outcome import CreateRequest
from streaming.offsets import parse_offset
from tests.streaming.log.scene import append, create, open_log, raw, read_all, refusal, texts
from tests.support.deadlines import bound
from tests.support.redis_server import REDIS_NAMES, RedisServer

NOW = ("--repl-diskless-sync-delay", "0")
"""A replica is sent its copy at once."""


@pytest.fixture(params=REDIS_NAMES)
def breakable(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Each version, to fill and to restart."""
    with RedisServer(request.param) as server:
        yield server


async def _fill_up(log: Log, name: str) -> None:
    """As if it had grown: what is used now is 200 kB more than is allowed."""
    used = (await raw(log, name, "INFO", "memory")).split(b"used_memory:")[1].split(b"\r")[0]
    await raw(log, name, "CONFIG", "SET", "maxmemory", str(int(used) - 200_000))


async def test_full_memory_refuses_appends_whole(breakable: RedisServer, name: str) -> None:
    """State and entries stay equal, reads go on, and what is deleted or trimmed makes room without a restart."""
    async with open_log(breakable.url) as log:
        await create(log, f"{name}/other")
        await append(log, f"{name}/other", b"y" * 1_500_000)
        await create(log, name, retention="count=500")
        await append(log, name, b"first", producer=("p", 0, 0))
        await _fill_up(log, name)
        state = await log.state(name)
        for refused in (
            append(log, name, b"x", b"y"),
            append(log, name, b"x", producer=("p", 0, 1)),
            append(log, name, close=True),
            log.create(f"{name}/new", CreateRequest("text/plain")),
        ):
            error = await refusal(refused)
            assert (error.status, error.slug) == (507, "store-full")
        after = await log.state(name)
        assert (after.tail_offset, after.count, after.is_closed) == (state.tail_offset, state.count, False)
        events = await read_all(log, name)
        assert len(events) == state.count == await raw(log, name, "XLEN", StreamKeys.of(name).entries)
        assert (await refusal(log.state(f"{name}/new"))).slug == "not-found"
        assert (await append(log, name, b"first", producer=("p", 0, 0))).is_duplicate
        await log.delete(f"{name}/other")
        assert (await append(log, name, b"again", producer=("p", 0, 1))).offset > state.tail_offset
        assert parse_offset((await log.state(name)).tail_offset).sequence == state.count + 1


async def test_refused_writes_are_read_only_and_reads_go_on(breakable: RedisServer, name: str) -> None:
    """MISCONF (the disk) and NOREPLICAS (a split): 503 `store-readonly`, until it is over."""
    async with open_log(breakable.url) as log:
        await create(log, name)
        await append(log, name, b"x")
        await raw(log, name, "CONFIG", "SET", "min-replicas-to-write", "1")
        error = await refusal(append(log, name, b"y"))
        assert (error.status, error.slug, error.headers) == (503, "store-readonly", {"Retry-After": "5"})
        assert (await refusal(log.delete(name))).slug == "store-readonly"
        # The disk is well: an alert on it would send its operator the wrong way.
        assert REGISTRY.get_sample_value("stream_redis_aof_last_write_ok") == 1
        assert texts(await read_all(log, name)) == ["x"]
        await raw(log, name, "CONFIG", "SET", "min-replicas-to-write", "0")
        await append(log, name, b"z")
        assert texts(await read_all(log, name)) == ["x", "z"]


async def test_failed_snapshot_is_read_only(own_server: RedisServer, name: str) -> None:
    """MISCONF by a snapshot that could not be written."""
    async with open_log(own_server.url) as log:
        await create(log, name)
        await raw(log, name, "CONFIG", "SET", "save", "3600 1")
        (own_server.directory / "dump.rdb").mkdir()
        await raw(log, name, "BGSAVE")
        while b"rdb_bgsave_in_progress:1" in await raw(log, name, "INFO", "persistence"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        error = await refusal(append(log, name, b"x"))
        assert (error.status, error.slug) == (503, "store-readonly")
        assert await read_all(log, name) == []


async def test_restart_begins_a_new_generation_at_the_next_append(breakable: RedisServer, name: str) -> None:
    """A restarted server may have lost its newest events: no offset of theirs may ever come again."""
    async with open_log(breakable.url) as log:
        base = parse_offset(await create(log, name))
        await append(log, name, b"1", b"2", producer=("p", 0, 0))
        await asyncio.to_thread(breakable.kill)
        await asyncio.to_thread(breakable.start)
        state = await log.state(name)
        assert parse_offset(state.tail_offset) == (base.generation, 2)
        tail = parse_offset((await append(log, name, b"3", b"4", producer=("p", 0, 1))).offset)
        assert tail.generation > base.generation
        assert tail.sequence == 2
        assert (await append(log, name, b"1", b"2", producer=("p", 0, 0))).is_duplicate
        assert texts(await read_all(log, name)) == ["1", "2", "3", "4"]
        assert texts(await read_all(log, name, f"{base.generation:016d}_{2:016d}")) == ["3", "4"]


async def test_offsets_that_were_lost_are_told_and_never_reused(breakable: RedisServer, name: str) -> None:
    """The data go back to a copy: whoever holds a lost offset gets 410 with where to go on."""
    async with open_log(breakable.url) as log:
        base = await create(log, name)
        kept = (await append(log, name, b"kept")).offset
        await asyncio.to_thread(breakable.terminate)
        copy = _copy(breakable)
        await asyncio.to_thread(breakable.start)
        lost = (await append(log, name, b"lost 1", b"lost 2", producer=("p", 0, 0))).offset
        also_lost = [event.offset for event in await read_all(log, name)][1]
        await create(log, f"{name}/lost")
        await asyncio.to_thread(breakable.kill)
        _restore(breakable, copy)
        await asyncio.to_thread(breakable.start)
        for _ in range(2):  # before the next append, and after it
            for offset in (lost, also_lost):
                rewound = await refusal(log.read(name, offset, 100))
                assert (rewound.status, rewound.slug) == (410, "stream-rewound")
                assert rewound.members == {
                    "earliest_offset": base,
                    "tail_offset": (await log.state(name)).tail_offset,
                }
            assert texts(await read_all(log, name, kept))[:1] in ([], ["new"])
            new = await append(log, name, b"new", b"newer", b"newest", producer=("p", 0, 0))
            assert new.is_duplicate or new.offset > lost
        found = [event.offset for event in await read_all(log, name)]
        assert not {lost, also_lost} & set(found)
        assert texts(await read_all(log, name)) == ["kept", "new", "newer", "newest"]
        assert (await refusal(log.state(f"{name}/lost"))).slug == "not-found"


async def test_primary_that_was_a_replica_meanwhile_gives_no_offset_twice(name: str) -> None:
    """It keeps its process and our connection, and has taken over data in which an acknowledged event is missing."""
    with RedisServer("valkey-9.1", NOW, port=0) as server, RedisServer("valkey-9.1", NOW, port=0) as other:
        async with open_log(server.url) as log:
            await create(log, name)
            with other.client() as client:
                client.replicaof("127.0.0.1", server.port)
                await _until_online(log, name)
                await append(log, name, b"kept", durability="replicated:1")
                client.replicaof("NO", "ONE")
            lost = await append(log, name, b"lost")
            with server.client() as client:
                client.replicaof("127.0.0.1", other.port)
                async with asyncio.timeout(bound(10.0)):
                    while client.info("replication")["master_link_status"] != "up":  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                client.replicaof("NO", "ONE")
            new = await append(log, name, b"new")
            assert texts(await read_all(log, name)) == ["kept", "new"]
            assert parse_offset(new.offset).generation > parse_offset(lost.offset).generation
            assert (await refusal(log.read(name, lost.offset, 1))).slug == "stream-rewound"


async def test_emptied_server_forgets_nothing_in_silence(own_server: RedisServer, name: str) -> None:
    """Old offsets of a stream that was created anew are 410, never `from now`."""
    async with open_log(own_server.url) as log:
        await create(log, name)
        old = (await append(log, name, b"old")).offset
        await asyncio.to_thread(own_server.kill)
        shutil.rmtree(own_server.directory / "appendonlydir")
        await asyncio.to_thread(own_server.start)
        assert (await refusal(log.read(name, old, 10))).slug == "not-found"
        assert await create(log, name) > old
        assert (await refusal(log.read(name, old, 10))).slug == "stream-rewound"


def _copy(server: RedisServer) -> Path:
    copy = server.directory / "copy"
    copy.mkdir()
    for path in server.directory.glob("append*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copy / path.name)
    return copy


def _restore(server: RedisServer, copy: Path) -> None:
    for path in copy.iterdir():
        target = server.directory / path.name
        if path.is_dir():
            shutil.rmtree(target)
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)


# Durability


async def test_fsynced_by_appendfsync_always() -> None:
    """Before 7.2 it is the server's setting that makes an answer safe."""
    with RedisServer("redis-7.0", ("--appendfsync", "always")) as server:
        async with open_log(server.url, Durability(is_fsynced=True)) as log:
            await create(log, "s")
            assert str((await append(log, "s", b"x")).durability) == "fsynced"


async def _until_online(log: Log, name: str = "s") -> None:
    async with asyncio.timeout(bound(5.0)):
        while b"state=online" not in await raw(log, name, "INFO", "replication"):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_replicated_needs_its_replica_to_have_it() -> None:
    """With a replica the answer says so; with one that does not read, it is `unconfirmed`, and a repetition tells."""
    with RedisServer("redis-8.2", NOW, port=0) as primary, RedisServer("redis-8.2", port=0) as replica:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
        async with open_log(primary.url) as log:
            await create(log, "s")
            await _until_online(log)
            appended = await append(log, "s", b"x", durability="replicated:1")
            assert str(appended.durability) == "replicated:1"
            both = await append(log, "s", b"y", durability="fsynced, replicated:1")
            assert str(both.durability) == "fsynced, replicated:1"
            two = await refusal(append(log, "s", b"z", durability="replicated:2"))
            assert (two.status, two.slug) == (400, "durability-unavailable")
            replica.stop()
            log.append_timeout_s = 0.4
            unconfirmed = await refusal(append(log, "s", b"w", durability="replicated:1", producer=("p", 0, 0)))
            assert (unconfirmed.status, unconfirmed.slug) == (503, "unconfirmed")
            again = await refusal(append(log, "s", b"w", durability="replicated:1", producer=("p", 0, 0)))
            assert again.slug == "unconfirmed"
            replica.cont()
            log.append_timeout_s = bound(2.0)
            confirmed = await append(log, "s", b"w", durability="replicated:1", producer=("p", 0, 0))
            assert (confirmed.is_duplicate, str(confirmed.durability)) == (True, "replicated:1")


async def test_stream_that_asks_for_more_holds_up_no_other() -> None:
    """While its replica is stalled its appends wait by themselves, also when this process meets it for the first time."""
    with RedisServer("valkey-9.1", NOW, port=0) as primary, RedisServer("valkey-9.1", port=0) as replica:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
        async with open_log(primary.url) as log:
            await _until_online(log)
            await create(log, "safe", durability=Durability(replicas=1))
            await create(log, "fast")
            await create(log, "plain", durability=WRITTEN)
        replica.stop()
        async with open_log(primary.url, timeout_s=1.5) as log:
            for _ in range(2):
                waiting = asyncio.create_task(refusal(append(log, "safe", b"x")))
                for name in ("fast", "plain"):
                    assert str((await append(log, name, b"y")).durability) == "written"
                await asyncio.sleep(0.05)
                for name in ("fast", "plain"):
                    await append(log, name, b"z")
                assert not waiting.done()
                assert (await waiting).slug == "unconfirmed"
        replica.cont()


async def test_durability_of_a_stream_made_anew_is_found_out() -> None:
    """What was remembered of the old one holds neither its appends up nor promises less."""
    with RedisServer("redis-7.0", ("--appendfsync", "always")) as server:
        async with open_log(server.url) as log:
            for durability, said in ((Durability(is_fsynced=True), "fsynced"), (WRITTEN, "written"), (None, "written")):
                await create(log, "s", durability=durability)
                for _ in range(2):
                    assert str((await append(log, "s", b"x")).durability) == said
                await log.delete("s")


async def test_every_append_that_is_not_replicated_in_time_is_told_so() -> None:
    """However long it had waited before its group left: none runs into its deadline, after which nothing is known."""
    with RedisServer("valkey-9.1", NOW, port=0) as primary, RedisServer("valkey-9.1", port=0) as replica:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
        async with open_log(primary.url, Durability(replicas=1), timeout_s=bound(5.0)) as log:
            await _until_online(log)
            await create(log, "s")
            await append(log, "s", b"first")
            replica.stop()
            log.append_timeout_s = 1.0
            tasks = []
            for number in range(40):
                tasks.append(asyncio.create_task(refusal(append(log, "s", b"%d" % number))))
                await asyncio.sleep(0.05)
            assert {(await task).slug for task in tasks} == {"unconfirmed"}
            replica.cont()


async def test_duplicate_in_a_stream_that_asks_for_more_waits_too() -> None:
    """What the stream asks for holds for the repetition of an unconfirmed append, on a new connection too."""
    with RedisServer("valkey-9.1", NOW, port=0) as primary, RedisServer("valkey-9.1", port=0) as replica:
        with replica.client() as client:
            client.replicaof("127.0.0.1", primary.port)
        async with open_log(primary.url) as log:
            await _until_online(log)
            await create(log, "s", durability=Durability(replicas=1))
            replica.stop()
            hows: list[dict[str, Any]] = [
                {"producer": ("p", 0, 0)},
                {"producer": ("p", 0, 0)},
                {"close": True},
                {"close": True},
            ]
            for how in hows:
                async with open_log(primary.url, timeout_s=0.4) as other:
                    data = () if "close" in how else (b"x",)
                    unconfirmed = await refusal(append(other, "s", *data, **how))
                    assert unconfirmed.slug == "unconfirmed", how
            replica.cont()
