"""Forks: what they inherit, how they outlive their sources, and what a crash between two steps leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from streaming.durability import Durability
from streaming.events import NewEvent
from streaming.keys import StreamKeys
from streaming.log import forks
from streaming.log.forks import create_fork, settle_pin
from streaming.log.listing import list_names
from streaming.log.log import Log
from streaming.log.outcome import AppendRequest, Created, CreateRequest, ForkRequest
from streaming.log.sweeper import Sweeper
from streaming.offsets import parse_offset
from streaming.retention import Retention
from tests.streaming.log.scene import MIB, append, create, raw, read_all, refusal, shift_redis_time, texts
from tests.support.deadlines import bound
from tests.support.redis_server import RedisServer

Shift = Callable[[int], None]


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Shift:
    """Move the time that scripts take from Redis."""
    return shift_redis_time(monkeypatch)


async def _fork(log: Log, name: str, source: str, offset: str = "", sub: int = 0, **more: Any) -> Created:
    return await create_fork(log, name, CreateRequest(**more), ForkRequest(source, offset, sub))


async def _marks(log: Log, name: str) -> list[bytes]:
    marks: list[bytes] = await raw(log, name, "HVALS", StreamKeys.of(name).forks)
    return [mark.split(b" ")[0] for mark in marks]


async def _numbered(log: Log, name: str, first: int, last: int) -> list[str]:
    return [(await append(log, name, b"%d" % n)).offset for n in range(first, last + 1)]


async def test_fork_inherits_up_to_its_offset_and_goes_on_alone(log: Log, name: str) -> None:
    """Inherited events keep their offsets; what is appended later goes to one stream only."""
    await create(log, name)
    offsets = await _numbered(log, name, 1, 4)
    await _fork(log, f"{name}/f", name, offsets[1])
    await append(log, name, b"source")
    mine = (await append(log, f"{name}/f", b"mine")).offset
    events = await read_all(log, f"{name}/f")
    assert texts(events) == ["1", "2", "mine"]
    assert [event.offset for event in events] == [*offsets[:2], mine]
    assert mine > offsets[1]
    assert texts(await read_all(log, name)) == ["1", "2", "3", "4", "source"]
    for index, event in enumerate(events):
        assert await read_all(log, f"{name}/f", event.offset) == events[index + 1 :]
    assert (await refusal(log.read(f"{name}/f", offsets[3], 10))).slug == "stream-rewound"
    assert await _marks(log, name) == [b"linked"]


@pytest.mark.parametrize("where", ["start", "tail", "zero"])
async def test_fork_at_an_end_of_its_source(log: Log, name: str, where: str) -> None:
    """The start inherits nothing, the tail (also by default) everything."""
    await create(log, name)
    offsets = await _numbered(log, name, 1, 2)
    offset = {"start": "-1", "tail": "", "zero": f"{0:016d}_{0:016d}"}[where]
    created = await _fork(log, f"{name}/f", name, offset)
    expected = ["1", "2"] if where == "tail" else []
    assert texts(await read_all(log, f"{name}/f")) == expected
    assert created.tail_offset > offsets[1]
    page = await log.read(f"{name}/f", offsets[1] if expected else "-1", 10)
    assert (page.next_offset, page.is_up_to_date) == (created.tail_offset, True)


async def test_chain_of_forks_reads_as_one_stream(log: Log, name: str) -> None:
    """Each of five forks adds two; pages of any size give the same events."""
    await create(log, f"{name}/0")
    await _numbered(log, f"{name}/0", 0, 1)
    for level in range(1, 6):
        await _fork(log, f"{name}/{level}", f"{name}/{level - 1}")
        await _numbered(log, f"{name}/{level}", level * 2, level * 2 + 1)
        await append(log, f"{name}/{level - 1}", b"not inherited")
    expected = [str(n) for n in range(12)]
    for page_bytes in (1, 2, 3, 5, MIB):
        assert texts(await read_all(log, f"{name}/5", page_bytes=page_bytes)) == expected
    for last in (1, 2, 3, 5, 11, 12, 50):
        page = await log.read(f"{name}/5", "-1", MIB, last=last)
        assert texts(list(page.events)) == expected[-last:]
    events = await read_all(log, f"{name}/5")
    for index in range(12):
        assert texts(await read_all(log, f"{name}/5", events[index].offset, 2)) == expected[index + 1 :]
    middle = await _fork(log, f"{name}/m", f"{name}/5", events[4].offset)
    assert middle.is_new
    assert texts(await read_all(log, f"{name}/m")) == expected[:5]


async def test_sub_offset_counts_bytes_and_cuts_an_event(log: Log, name: str) -> None:
    """In a text or binary stream; the part has the type of its event."""
    await create(log, name)
    await log.append(name, AppendRequest([NewEvent(b"abc"), NewEvent(b"defgh", "tick")], "text/plain"))
    for sub, expected in ((2, ["ab"]), (3, ["abc"]), (5, ["abc", "de"]), (8, ["abc", "defgh"])):
        await _fork(log, f"{name}/{sub}", name, "-1", sub)
        assert texts(await read_all(log, f"{name}/{sub}")) == expected
    cut = await read_all(log, f"{name}/5")
    assert [event.type for event in cut] == ["message", "tick"]
    past = await refusal(_fork(log, f"{name}/9", name, "-1", 9))
    assert (past.status, past.slug) == (400, "bad-sub-offset")
    assert await _marks(log, name) == [b"linked"] * 4


async def test_sub_offset_counts_messages_in_json(log: Log, name: str) -> None:
    """A JSON value is never cut."""
    await create(log, name, content_type="application/json")
    await append(log, name, b"[1,2]", b"3", b"4", media="application/json")
    await _fork(log, f"{name}/f", name, "-1", 2)
    assert texts(await read_all(log, f"{name}/f")) == ["[1,2]", "3"]
    assert (await refusal(_fork(log, f"{name}/g", name, "-1", 4))).slug == "bad-sub-offset"


async def test_fork_again_as_it_is_confirms_and_otherwise_conflicts(log: Log, name: str) -> None:
    """PUT is idempotent here too, and leaves no mark behind."""
    await create(log, name)
    offsets = await _numbered(log, name, 1, 3)
    assert (await _fork(log, f"{name}/f", name, offsets[0])).is_new
    assert not (await _fork(log, f"{name}/f", name, offsets[0])).is_new
    assert (await refusal(_fork(log, f"{name}/f", name, offsets[1]))).slug == "stream-exists"
    assert (await refusal(_fork(log, name, name))).slug == "stream-exists"
    assert await _marks(log, name) == [b"linked"]


async def test_durability_that_the_server_has_not_makes_no_fork(log: Log, name: str) -> None:
    """Each of its appends would be unconfirmed; and no mark is left behind."""
    await create(log, name)
    refused = await refusal(_fork(log, f"{name}/f", name, durability=Durability(replicas=9)))
    assert (refused.status, refused.slug) == (400, "durability-unavailable")
    assert (await refusal(log.state(f"{name}/f"))).slug == "not-found"
    assert await _marks(log, name) == []


async def test_bad_sources_are_refused(log: Log, name: str) -> None:
    """Missing, of another type, foreign and future offsets."""
    assert (await refusal(_fork(log, f"{name}/f", f"{name}/none"))).status == 404
    await create(log, name)
    (tail,) = await _numbered(log, name, 1, 1)
    assert (await refusal(_fork(log, f"{name}/f", name, content_type="text/html"))).slug == "content-type-mismatch"
    generation, sequence = parse_offset(tail)
    for offset in ("x", f"{generation:016d}_{sequence + 1:016d}", f"{generation - 1:016d}_{1:016d}"):
        refused = await refusal(_fork(log, f"{name}/f", name, offset))
        assert (refused.status, refused.slug) == (400, "bad-offset")
    assert await _marks(log, name) == []


async def test_deleted_source_stays_for_its_fork_and_goes_with_it(log: Log, name: str) -> None:
    """Soft deletion, the blocked name, and the cascade up a chain."""
    await create(log, name)
    await append(log, name, b"1")
    await _fork(log, f"{name}/f", name)
    await append(log, f"{name}/f", b"2")
    await _fork(log, f"{name}/g", f"{name}/f")
    await log.delete(name)
    await log.delete(f"{name}/f")
    for operation in (log.read(name, "-1", 10), append(log, name, b"x"), log.delete(name)):
        deleted = await refusal(operation)
        assert (deleted.status, deleted.slug) == (410, "stream-deleted")
    assert (await refusal(log.create(name, CreateRequest("text/plain")))).slug == "stream-deleted"
    assert (await refusal(_fork(log, f"{name}/h", name))).slug == "source-deleted"
    assert texts(await read_all(log, f"{name}/g")) == ["1", "2"]
    await log.delete(f"{name}/g")
    for gone in (name, f"{name}/f", f"{name}/g"):
        keys = StreamKeys.of(gone)
        for key in (keys.state, keys.entries, keys.forks):
            assert await raw(log, gone, "EXISTS", key) == 0
        assert (await refusal(log.state(gone))).slug == "not-found"
    assert await list_names(log, name, "", 10) == []


async def test_expired_source_stays_for_its_fork(log: Log, name: str, shift: Shift) -> None:
    """A fork inherits the expiry unless it has its own, and pins the source's keys past it."""
    await create(log, name, ttl_s=100)
    await append(log, name, b"1")
    await _fork(log, f"{name}/heir", name)
    await _fork(log, f"{name}/f", name, ttl_s=1000)
    assert (await log.state(f"{name}/heir")).ttl_s == 100
    assert await raw(log, name, "PTTL", StreamKeys.of(name).entries) == -1
    shift(150_000)
    assert (await refusal(log.read(name, "-1", 10))).slug == "stream-deleted"
    assert (await refusal(log.state(f"{name}/heir"))).slug == "not-found"
    assert texts(await read_all(log, f"{name}/f")) == ["1"]
    await Sweeper(log).sweep_stream(f"{name}/heir")
    assert await _marks(log, name) == [b"linked"]
    await log.delete(f"{name}/f")
    assert await raw(log, name, "EXISTS", StreamKeys.of(name).state) == 0


async def test_fork_of_a_trimmed_fork_shows_what_its_source_shows(log: Log, name: str) -> None:
    """Once retention has passed into a fork's own events, what it inherited is gone for its heirs too."""
    await create(log, name)
    await _numbered(log, name, 1, 2)
    await _fork(log, f"{name}/f", name)
    await log.delete(f"{name}/f")
    await create_fork(log, f"{name}/f", CreateRequest(retention=Retention(max_events=2)), ForkRequest(name))
    await _numbered(log, f"{name}/f", 3, 6)
    assert texts(await read_all(log, f"{name}/f")) == ["5", "6"]
    await _fork(log, f"{name}/g", f"{name}/f")
    assert texts(await read_all(log, f"{name}/g")) == ["5", "6"]
    assert texts(list((await log.read(f"{name}/g", "-1", 10, last=9)).events)) == ["5", "6"]


async def test_source_that_loses_events_all_the_time_can_be_forked(log: Log, name: str) -> None:
    """Retention may move between any two steps."""
    await create(log, name, retention="count=3")
    await _numbered(log, name, 1, 5)
    call = log.call
    calls = 0

    async def appending(script: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if script.name in ("fork_pin", "create"):
            calls += 1
            log.call = call  # type: ignore[method-assign]
            await append(log, name, b"%d" % (5 + calls))
            log.call = appending  # type: ignore[method-assign]
        return await call(script, *args, **kwargs)

    log.call = appending  # type: ignore[method-assign]
    try:
        created = await _fork(log, f"{name}/f", name)
    finally:
        log.call = call  # type: ignore[method-assign]
    assert created.is_new
    found = texts(await read_all(log, f"{name}/f"))
    assert found == [str(n) for n in range(int(found[0]), int(found[-1]) + 1)]
    assert len(found) >= 2


async def test_too_old_mark_makes_no_fork(log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweeper may have taken it: what it pinned may be gone."""
    monkeypatch.setattr(forks, "PIN_LIFE_MS", -1)
    await create(log, name)
    await append(log, name, b"1")
    refused = await refusal(_fork(log, f"{name}/f", name))
    assert (refused.status, refused.slug) == (503, "fork-expired")
    assert (await refusal(log.state(f"{name}/f"))).slug == "not-found"


_CRASH = """
import asyncio, sys
from streaming.durability import WRITTEN
from streaming.log.forks import create_fork
from streaming.log.log import Log
from streaming.log.outcome import CreateRequest, ForkRequest
from streaming.store import Store

async def main():
    store = Store(sys.argv[1])
    await store.open(10)
    await create_fork(Log(store, WRITTEN, 10, 10), sys.argv[2] + "/f", CreateRequest(), ForkRequest(sys.argv[2]))

asyncio.run(main())
"""


@pytest.mark.parametrize(("failpoint", "is_there"), [("fork_pinned", False), ("fork_created", True)])
async def test_crash_between_two_steps_is_settled_by_the_sweeper(
    one_server: RedisServer, one_log: Log, name: str, shift: Shift, failpoint: str, is_there: bool
) -> None:
    """A mark without a fork is released, one with a fork is linked; neither before its time."""
    await create(one_log, name)
    await append(one_log, name, b"1")
    crashed = subprocess.run(  # noqa: ASYNC221 - nothing else runs here
        [sys.executable, "-c", _CRASH, one_server.url, name],
        env={**os.environ, "STREAMSITE_FAILPOINT": f"{failpoint}=exit"},
        timeout=bound(10.0),
        check=False,
    )
    assert crashed.returncode == 9
    sweeper = Sweeper(one_log)
    assert await _marks(one_log, name) == [b"pending"]
    await sweeper.sweep_stream(name)
    assert await _marks(one_log, name) == [b"pending"]
    shift(61_000)
    await sweeper.sweep()
    assert await _marks(one_log, name) == ([b"linked"] if is_there else [])
    if is_there:
        assert texts(await read_all(one_log, f"{name}/f")) == ["1"]
    else:
        assert (await refusal(one_log.state(f"{name}/f"))).slug == "not-found"
        await one_log.delete(name)
        assert (await refusal(one_log.state(name))).slug == "not-found"


async def test_mark_of_a_fork_that_was_deleted_meanwhile_is_released(log: Log, name: str) -> None:
    """Whoever deleted the fork died before the release; the name may even be another stream now."""
    await create(log, name)
    await _fork(log, f"{name}/f", name)
    code, source, pin = await log.run_delete(f"{name}/f", only_expired=False)
    assert (code, source) == ("removed", name)
    await create(log, f"{name}/f")
    await log.delete(name)
    assert await _marks(log, name) == [b"linked"]
    assert await settle_pin(log, name, pin, f"{name}/f")
    assert await raw(log, name, "EXISTS", StreamKeys.of(name).state) == 0


async def test_inherited_events_that_are_lost_are_told(log: Log, name: str) -> None:
    """The source's node went back, the fork's did not: its readers are told, and may go on with its own events."""
    await create(log, name)
    offsets = await _numbered(log, name, 1, 3)
    await _fork(log, f"{name}/f", name)
    mine = (await append(log, f"{name}/f", b"mine")).offset
    generation, _ = parse_offset(offsets[2])
    await raw(log, name, "XDEL", StreamKeys.of(name).entries, f"{generation}-3")
    page = await log.read(f"{name}/f", "-1", 2)
    lost = await refusal(read_all(log, f"{name}/f", page.next_offset))
    assert (lost.status, lost.slug) == (410, "stream-rewound")
    assert lost.members["tail_offset"] == mine
    assert texts(await read_all(log, f"{name}/f", lost.members["earliest_offset"])) == ["mine"]
