"""Pages: bounded in bytes, and `tail=N` counted back over generations."""

from __future__ import annotations

import pytest

from streaming.keys import StreamKeys
from streaming.log.log import Log
from streaming.offsets import parse_offset
from tests.streaming.log.scene import MIB, append, create, raw, read_all, texts


async def _new_generation(log: Log, name: str) -> None:
    """What the next append sees after the server was restarted."""
    await raw(log, name, "HSET", StreamKeys.of(name).state, "incarnation", "another")


async def test_small_events_come_in_pages_of_bytes(log: Log, name: str) -> None:
    """10,000 small events are read in full, no page longer than asked."""
    await create(log, name)
    for start in range(0, 10_000, 5000):
        await append(log, name, *[b"%010d" % n for n in range(start, start + 5000)])
    page = await log.read(name, "-1", 1000)
    assert len(page.events) == 100
    assert (page.is_up_to_date, page.next_offset) == (False, page.events[-1].offset)
    assert texts(await read_all(log, name, page_bytes=20_000)) == [f"{n:010d}" for n in range(10_000)]


async def test_large_events_come_one_by_one(log: Log, name: str) -> None:
    """The first event of a page is there whatever its size, and no page holds much more than asked."""
    await create(log, name)
    for n in range(6):
        await append(log, name, b"%d" % n * MIB)
    page = await log.read(name, "-1", 1000)
    assert [len(event.data) for event in page.events] == [MIB]
    page = await log.read(name, page.next_offset, 2 * MIB)
    assert [event.data[:1] for event in page.events] == [b"1", b"2"]
    assert [event.data[:1] for event in await read_all(log, name)] == [b"%d" % n for n in range(6)]


@pytest.mark.slow
async def test_page_never_loads_much_more_than_it_returns(one_log: Log, name: str) -> None:
    """Many small events before many large ones: the script's own memory stays bounded too."""
    await create(one_log, name)
    await append(one_log, name, *[b"x"] * 700)
    big = b"b" * MIB
    for _ in range(150):
        await append(one_log, name, big)
    before = int(await _info(one_log, name, "used_memory_peak"))
    await raw(one_log, name, "CONFIG", "RESETSTAT")
    now = int(await _info(one_log, name, "used_memory"))
    await read_all(one_log, name)
    peak = int(await _info(one_log, name, "used_memory_peak"))
    assert peak - max(now, before) < 80 * MIB
    await one_log.delete(name)


async def _info(log: Log, name: str, field: str) -> str:
    text: str = (await raw(log, name, "INFO", "memory")).decode()
    return next(line.split(":")[1] for line in text.splitlines() if line.startswith(f"{field}:"))


async def test_read_goes_on_after_every_offset(log: Log, name: str) -> None:
    """An offset is the place after its event."""
    await create(log, name)
    await append(log, name, *[b"%d" % n for n in range(5)])
    events = await read_all(log, name)
    for index, event in enumerate(events):
        assert await read_all(log, name, event.offset) == events[index + 1 :]


async def test_generations_follow_one_another(log: Log, name: str) -> None:
    """After a restart offsets go on in a new generation, from 1, and reading does not notice."""
    await create(log, name)
    await append(log, name, b"1", b"2")
    await _new_generation(log, name)
    await append(log, name, b"3", b"4")
    await append(log, name, b"5")
    events = await read_all(log, name)
    assert texts(events) == ["1", "2", "3", "4", "5"]
    positions = [parse_offset(event.offset) for event in events]
    assert [position.sequence for position in positions] == [1, 2, 1, 2, 3]
    assert positions[1].generation < positions[2].generation == positions[4].generation
    assert texts(await read_all(log, name, events[1].offset)) == ["3", "4", "5"]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 8, 9, 100])
async def test_last_events_are_counted_over_generations(log: Log, name: str, count: int) -> None:
    """`tail=N` gives exactly N, or all there are."""
    await create(log, name)
    await append(log, name, b"1", b"2", b"3")
    await _new_generation(log, name)
    await append(log, name, b"4")
    await _new_generation(log, name)
    await append(log, name, b"5", b"6", b"7", b"8")
    page = await log.read(name, "-1", MIB, last=count)
    assert texts(list(page.events)) == [str(n) for n in range(max(1, 9 - count), 9)]
    assert (page.is_up_to_date, page.next_offset) == (True, page.events[-1].offset)


async def test_last_of_an_empty_stream_is_nothing(log: Log, name: str) -> None:
    """And the place to go on from is its tail."""
    base = await create(log, name)
    page = await log.read(name, "-1", MIB, last=5)
    assert (page.events, page.next_offset, page.is_up_to_date) == ([], base, True)


async def test_last_after_retention_is_what_is_left(log: Log, name: str) -> None:
    """N may be more than retention has kept."""
    await create(log, name, retention="count=3")
    for n in range(6):
        await append(log, name, b"%d" % n)
    assert texts(list((await log.read(name, "-1", MIB, last=5)).events)) == ["3", "4", "5"]
    assert texts(list((await log.read(name, "-1", MIB, last=2)).events)) == ["4", "5"]
