"""The sweeper collects what nobody asks for, one process at a time, whatever Redis says."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from streaming.keys import StreamKeys
from streaming.log import sweeper as sweeper_module
from streaming.log.listing import list_names
from streaming.log.log import Log
from streaming.log.sweeper import LEASE_KEY, Sweeper
from tests.streaming.log.scene import append, create, raw, shift_redis_time
from tests.support.deadlines import bound


async def test_expired_streams_leave_the_list(log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose keys Redis has collected already; living ones stay."""
    shift = shift_redis_time(monkeypatch)
    for each in ("a", "b", "c"):
        await create(log, f"{name}/{each}", ttl_s=-1 if each == "c" else 5)
    await append(log, f"{name}/a", b"x")
    shift(10_000)
    keys = StreamKeys.of(f"{name}/b")
    await raw(log, f"{name}/b", "DEL", keys.state)
    await Sweeper(log).sweep()
    assert await list_names(log, name, "", 10) == [f"{name}/c"]
    assert await raw(log, f"{name}/a", "EXISTS", StreamKeys.of(f"{name}/a").entries) == 0


async def test_more_names_than_a_batch_are_all_looked_at(
    one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches join without leaving one out."""
    monkeypatch.setattr(sweeper_module, "BATCH", 1)
    shift = shift_redis_time(monkeypatch)
    names = [f"{name}/{n}" for n in range(300)]
    assert len({StreamKeys.of(each).bucket for each in names}) < 256
    await asyncio.gather(*(create(one_log, each, ttl_s=5) for each in names))
    shift(10_000)
    await Sweeper(one_log).sweep()
    assert await list_names(one_log, name, "", 1000) == []


async def test_one_process_sweeps_at_a_time(own_log: Log) -> None:
    """The lease is kept by its owner, and free when that one is gone."""
    first, second = Sweeper(own_log), Sweeper(own_log)
    assert await first._has_lease()
    assert not await second._has_lease()
    assert await first._has_lease()
    await raw(own_log, "x", "DEL", LEASE_KEY)
    assert await second._has_lease()


async def test_full_memory_does_not_stop_the_sweeps(own_log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeping frees memory: it must go on exactly then, lease or not."""
    shift = shift_redis_time(monkeypatch)
    monkeypatch.setattr(sweeper_module, "SWEEP_EVERY_S", 0.02)
    await create(own_log, name, retention="age=5")
    await append(own_log, name, *[b"x" * 1000] * 600)
    await create(own_log, f"{name}/expiring", ttl_s=5)
    await raw(own_log, name, "CONFIG", "SET", "maxmemory", "1")
    shift(10_000)
    task = asyncio.create_task(Sweeper(own_log).run())
    try:
        async with asyncio.timeout(bound(2.0)):
            while (
                await raw(own_log, name, "XLEN", StreamKeys.of(name).entries)
                or len(await list_names(own_log, name, "", 9)) > 1
            ):
                assert not task.done()
                await asyncio.sleep(0.02)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_refusal_by_redis_does_not_end_the_sweeper(own_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever Redis says to one sweep, there is a next one."""
    monkeypatch.setattr(sweeper_module, "SWEEP_EVERY_S", 0.01)
    await raw(own_log, "x", "SADD", LEASE_KEY, "not a string")
    swept = asyncio.Event()

    async def sweep(self: Sweeper) -> None:
        swept.set()

    monkeypatch.setattr(Sweeper, "sweep", sweep)
    task = asyncio.create_task(Sweeper(own_log).run())
    try:
        await asyncio.sleep(0.1)
        assert not task.done()
        await raw(own_log, "x", "DEL", LEASE_KEY)
        async with asyncio.timeout(bound(1.0)):
            await swept.wait()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
