"""Retention: age, count and bytes, told by 410 and never taken from a fork."""

from __future__ import annotations

import pytest

from streaming.keys import StreamKeys
from streaming.log.forks import create_fork
from streaming.log.log import Log
from streaming.log.outcome import CreateRequest, ForkRequest
from streaming.log.sweeper import Sweeper
from streaming.retention import KEEP_ALL, Retention
from tests.streaming.log.scene import append, create, raw, read_all, refusal, shift_redis_time, texts


@pytest.mark.parametrize("text", ["age=1", "count=5, bytes=10", "age=86400, count=1, bytes=999999999999999"])
def test_text_is_read_and_written_alike(text: str) -> None:
    """The header's text comes back."""
    assert str(Retention.parse(text)) == text


def test_empty_text_keeps_everything() -> None:
    """No bound is no bound."""
    assert Retention.parse(" ") == KEEP_ALL
    assert not str(KEEP_ALL)


@pytest.mark.parametrize(
    "text", ["age", "age=", "age=0", "age=-1", "age=1e3", "age=1,age=2", "size=1", "age=1;count=2", "age=1,", "count=٣"]
)
def test_bad_text_is_refused(text: str) -> None:
    """Each member once, above 0, plain digits."""
    with pytest.raises(ValueError, match="retention is age="):
        Retention.parse(text)


async def test_count_keeps_the_newest(log: Log, name: str) -> None:
    """What is past the count is gone from Redis too, and its readers are told where to go on."""
    await create(log, name, retention="count=3")
    offsets = [(await append(log, name, b"%d" % n)).offset for n in range(6)]
    assert texts(await read_all(log, name)) == ["3", "4", "5"]
    assert await raw(log, name, "XLEN", StreamKeys.of(name).entries) == 3
    state = await log.state(name)
    assert (state.count, state.bytes) == (3, 3)
    gone = await refusal(log.read(name, offsets[1], 100))
    assert (gone.status, gone.slug) == (410, "offset-gone")
    assert gone.members == {"earliest_offset": offsets[2], "tail_offset": offsets[5]}
    assert gone.headers == {"Stream-Earliest-Offset": offsets[2]}
    assert texts(await read_all(log, name, offsets[2])) == ["3", "4", "5"]


async def test_bytes_keep_at_least_the_newest(log: Log, name: str) -> None:
    """An event larger than the bound stays until another one comes."""
    await create(log, name, retention="bytes=10")
    await append(log, name, b"aaaa", b"bbbb", b"cc")
    assert len(await read_all(log, name)) == 3
    await append(log, name, b"d" * 50)
    assert texts(await read_all(log, name)) == ["d" * 50]
    await append(log, name, b"e")
    assert texts(await read_all(log, name)) == ["e"]


async def test_age_hides_at_once_and_is_trimmed_later(log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads go by the clock, whether anybody appends or sweeps."""
    shift = shift_redis_time(monkeypatch)
    base = await create(log, name, retention="age=100")
    old = (await append(log, name, b"old")).offset
    shift(60_000)
    new = (await append(log, name, b"new")).offset
    assert texts(await read_all(log, name)) == ["old", "new"]
    shift(110_000)
    assert texts(await read_all(log, name)) == ["new"]
    assert texts(await read_all(log, name, old)) == ["new"]
    assert texts(list((await log.read(name, "-1", 100, last=2)).events)) == ["new"]
    gone = await refusal(log.read(name, base, 100))
    assert (gone.slug, gone.members["earliest_offset"]) == ("offset-gone", old)
    keys = StreamKeys.of(name)
    assert await raw(log, name, "XLEN", keys.entries) == 2
    await Sweeper(log).sweep_stream(name)
    assert await raw(log, name, "XLEN", keys.entries) == 1
    shift(200_000)
    assert await read_all(log, name) == []
    page = await log.read(name, "-1", 100)
    assert (page.next_offset, page.is_up_to_date) == (new, True)
    assert texts(await read_all(log, name, new)) == []


@pytest.mark.parametrize("counts", [(1, 0, 1), (3000, 0, 2), (7, 4097, 5), (0, 1, 3), (900, 1, 0)])
async def test_what_age_hides_is_not_walked(
    one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int, int]
) -> None:
    """Millions may have become too old since the last sweep, and Redis does nothing else while it looks at them."""
    shift = shift_redis_time(monkeypatch)
    await create(one_log, name, retention="age=100")
    for number, count in enumerate(counts):
        shift((0, 0, 200_000)[number])
        await raw(one_log, name, "HSET", StreamKeys.of(name).state, "incarnation", f"another {number}")
        for start in range(0, count, 1000):
            await append(one_log, name, *[b"%d" % number] * min(1000, count - start))
    shift(200_000)
    await raw(one_log, name, "CONFIG", "RESETSTAT")
    assert texts(await read_all(one_log, name)) == ["2"] * counts[2]
    stats = (await raw(one_log, name, "INFO", "commandstats")).decode()
    (line,) = (line for line in stats.splitlines() if line.startswith("cmdstat_xrange:"))
    assert int(line.split("calls=")[1].split(",")[0]) <= 60


async def test_sweep_trims_all_that_is_too_old(log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of a script is bounded; one sweep is not done before everything is."""
    shift = shift_redis_time(monkeypatch)
    await create(log, name, retention="age=10")
    await append(log, name, *[b"x"] * 2000)
    shift(20_000)
    await Sweeper(log).sweep_stream(name)
    assert await raw(log, name, "XLEN", StreamKeys.of(name).entries) == 0


async def test_large_appends_stay_within_the_count(log: Log, name: str) -> None:
    """Trimming keeps up with any append: otherwise a bound would be none."""
    await create(log, name, retention="count=10")
    for _ in range(3):
        await append(log, name, *[b"x"] * 2000)
    assert await raw(log, name, "XLEN", StreamKeys.of(name).entries) == 10
    assert (await log.state(name)).count == 10


async def test_fork_keeps_what_it_inherits(log: Log, name: str) -> None:
    """The source's own readers see it gone; the fork reads on; when the fork goes, so do the entries."""
    await create(log, name, retention="count=2")
    await append(log, name, b"1", b"2")
    await create_fork(log, f"{name}/fork", CreateRequest(), ForkRequest(name))
    await append(log, name, b"3", b"4")
    assert texts(await read_all(log, name)) == ["3", "4"]
    assert texts(await read_all(log, f"{name}/fork")) == ["1", "2"]
    await log.delete(f"{name}/fork")
    await append(log, name, b"5")
    assert await raw(log, name, "XLEN", StreamKeys.of(name).entries) == 2
