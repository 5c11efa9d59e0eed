"""Creating, deleting, listing, expiry and touching, on every server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest
import redis

from streaming.events import NewEvent
from streaming.keys import StreamKeys, bucket_of
from streaming.log.forks import create_fork
from streaming.log.listing import list_names, list_streams, states_of
from streaming.log.log import Log
from streaming.log.outcome import AppendRequest, CreateRequest, ForkRequest
from streaming.log.sweeper import Sweeper
from streaming.offsets import parse_offset
from streaming.retention import KEEP_ALL, Retention
from tests.streaming.log.scene import append, create, raw, read_all, refusal, shift_redis_time, texts
from tests.support.deadlines import bound

Shift = Callable[[int], None]


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> Shift:
    """Move the time that scripts take from Redis."""
    return shift_redis_time(monkeypatch)


async def _eventually_expires_after(log: Log, name: str, milliseconds: int) -> None:
    deadline_mono = time.monotonic() + bound(1.0)
    while (await log.state(name)).expires_ms <= milliseconds:
        assert time.monotonic() < deadline_mono, "the stream was not touched"
        await asyncio.sleep(0.01)


async def test_create_again_as_it_is_confirms(log: Log, name: str) -> None:
    """PUT is idempotent; the tail of what is there is told."""
    asked = CreateRequest("text/plain", ttl_s=60, retention=Retention(60, 5, 1000), is_closed=False)
    first = await log.create(name, asked)
    tail = (await append(log, name, b"x")).offset
    again = await log.create(name, asked)
    assert (first.is_new, again.is_new, again.tail_offset) == (True, False, tail)
    without_type = await log.create(name, CreateRequest(ttl_s=60, retention=Retention(60, 5, 1000)))
    assert (without_type.is_new, without_type.content_type) == (False, "text/plain")
    assert not (await log.create(name, CreateRequest(ttl_s=60))).is_new


async def test_create_again_under_another_default_retention_confirms(one_log: Log, name: str) -> None:
    """The operator's setting is no claim of the caller's; what the stream was made with stays."""
    one_log.retention = Retention(max_events=5)
    assert (await one_log.create(name, CreateRequest("text/plain"))).is_new
    await one_log.create(f"{name}/all", CreateRequest("text/plain", retention=KEEP_ALL))
    one_log.retention = Retention(max_events=7)
    assert not (await one_log.create(name, CreateRequest("text/plain"))).is_new
    assert (await one_log.state(name)).retention == Retention(max_events=5)
    assert (await one_log.state(f"{name}/all")).retention == KEEP_ALL
    await create_fork(one_log, f"{name}/fork", CreateRequest(), ForkRequest(name))
    one_log.retention = Retention(max_events=9)
    assert not (await create_fork(one_log, f"{name}/fork", CreateRequest(), ForkRequest(name))).is_new
    assert (await one_log.state(f"{name}/fork")).retention == Retention(max_events=7)
    other = CreateRequest("text/plain", retention=Retention(max_events=7))
    assert (await refusal(one_log.create(name, other))).slug == "stream-exists"


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (CreateRequest("text/html"), "content type"),
        (CreateRequest("text/plain", ttl_s=5), "TTL"),
        (CreateRequest("text/plain", expires_at_ms=10**13, expires_text="2286-11-20T17:46:40Z"), "expiry"),
        (CreateRequest("text/plain", is_closed=True), "closure"),
        (CreateRequest("text/plain", retention=Retention(max_events=5)), "retention"),
    ],
)
async def test_create_otherwise_conflicts(one_log: Log, name: str, other: CreateRequest, what: str) -> None:
    """A word says what differs, and nothing changes."""
    await create(one_log, name)
    before = await one_log.state(name)
    conflict = await refusal(one_log.create(name, other))
    assert (conflict.status, conflict.slug) == (409, "stream-exists")
    assert conflict.detail.endswith(f"with another {what}")
    after = await one_log.state(name)
    assert (after.content_type, after.ttl_s, after.is_closed) == (before.content_type, before.ttl_s, before.is_closed)


async def test_create_with_events_and_closed_is_one_step(log: Log, name: str) -> None:
    """A stream may be born with its content, closed."""
    asked = CreateRequest("text/plain", is_closed=True, events=[NewEvent(b"a"), NewEvent(b"b")])
    created = await log.create(name, asked)
    page = await log.read(name, "-1", 1000)
    assert (texts(list(page.events)), page.is_end) == (["a", "b"], True)
    assert page.next_offset == created.tail_offset
    assert parse_offset(created.tail_offset).sequence == 2
    state = await log.state(name)
    assert (state.count, state.bytes) == (2, 2)


async def test_deleted_stream_is_gone_with_its_keys(log: Log, name: str) -> None:
    """Nothing is left but the bucket's generation."""
    await create(log, name)
    await append(log, name, b"x", producer=("p", 0, 0))
    await log.delete(name)
    for operation in (log.state(name), log.read(name, "-1", 10), append(log, name, b"x"), log.delete(name)):
        assert (await refusal(operation)).slug == "not-found"
    keys = StreamKeys.of(name)
    for key in (keys.state, keys.entries, keys.producers, keys.forks):
        assert await raw(log, name, "EXISTS", key) == 0
    assert name not in await list_names(log, name, "", 10)


async def test_streams_are_listed_in_order_over_all_buckets(log: Log, name: str) -> None:
    """Prefix, `after` and limit; pages join without a gap; names sort by bytes."""
    tails = ["", "/a", "/b", "/b/c", "/é", "/日本", "/~", "0", "a", "/x/1", "/x/2", "/x/10"]
    names = [name + tail for tail in tails]
    assert len({bucket_of(each) for each in names}) > 5
    for each in names:
        await create(log, each)
    expected = sorted(names, key=str.encode)
    assert await list_names(log, name, "", 100) == expected
    assert await list_names(log, f"{name}/x/", "", 100) == [f"{name}/x/1", f"{name}/x/10", f"{name}/x/2"]
    assert await list_names(log, f"{name}/b", f"{name}/a", 1) == [f"{name}/b"]
    assert await list_names(log, f"{name}/b", f"{name}/~", 9) == []
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        listed = await list_streams(log, name, after, 5)
        found += [each for each, _ in listed.states]
        after = listed.next
    assert found == expected


async def test_listing_leaves_out_what_is_deleted_or_expired(log: Log, name: str, shift: Shift) -> None:
    """A name may stay listed in Redis a little longer than its stream."""
    await create(log, f"{name}/a")
    await create(log, f"{name}/b", ttl_s=5)
    shift(6000)
    listed = await list_streams(log, name, "", 10)
    assert [each for each, _ in listed.states] == [f"{name}/a"]
    states = await states_of(log, [f"{name}/b", f"{name}/a", f"{name}/none"])
    assert [state is not None for state in states] == [False, True, False]


async def test_expiry_goes_by_redis_time_at_once(log: Log, name: str, shift: Shift) -> None:
    """Every operation sees the end in the same millisecond; the keys are collected a minute later."""
    seconds, _ = await raw(log, name, "TIME")
    expires_ms = (int(seconds) + 100) * 1000
    await create(log, name, expires_at_ms=expires_ms, expires_text="soon")
    await append(log, name, b"x", producer=("p", 0, 0))
    keys = StreamKeys.of(name)
    for key in (keys.state, keys.entries, keys.producers):
        left_ms = await raw(log, name, "PTTL", key)
        assert 155_000 < left_ms <= 161_000
    shift(98_000)
    assert texts(await read_all(log, name)) == ["x"]
    shift(100_001)
    for operation in (log.state(name), log.read(name, "-1", 10), append(log, name, b"x"), log.delete(name)):
        assert (await refusal(operation)).slug == "not-found"
    assert await raw(log, name, "EXISTS", keys.state) == 1
    created = await log.create(name, CreateRequest("text/html"))
    assert (created.is_new, await read_all(log, name)) == (True, [])
    assert await raw(log, name, "PTTL", keys.state) == -1
    await append(log, name, b"y", media="text/html", producer=("p", 0, 0))
    assert await raw(log, name, "PTTL", keys.entries) == -1


async def test_sliding_time_to_live_begins_anew_with_reads_and_appends(log: Log, name: str, shift: Shift) -> None:
    """An append begins it at once, a read soon after; HEAD and a read that says so don't."""
    await create(log, name, ttl_s=100)
    began = (await log.state(name)).expires_ms
    shift(50_000)
    await append(log, name, b"x")
    appended = (await log.state(name)).expires_ms
    assert 50_000 <= appended - began < 60_000
    shift(90_000)
    await log.state(name)
    await log.read(name, "-1", 10, touch=False)
    await asyncio.sleep(0.1)
    assert (await log.state(name)).expires_ms == appended
    await log.read(name, "-1", 10)
    await _eventually_expires_after(log, name, appended + 30_000)
    assert await raw(log, name, "PTTL", StreamKeys.of(name).entries) > 240_000
    shift(189_000)
    assert texts(await read_all(log, name)) == ["x"]
    shift(500_000)
    assert (await refusal(log.read(name, "-1", 10))).slug == "not-found"


async def test_many_reads_touch_once(one_log: Log, name: str) -> None:
    """However many read, a stream is touched at most 20 times in its time to live."""
    await create(one_log, name, ttl_s=1000)
    await raw(one_log, name, "CONFIG", "RESETSTAT")
    for _ in range(20):
        await one_log.read(name, "-1", 10)
    await asyncio.sleep(0.15)
    stats = (await raw(one_log, name, "INFO", "commandstats")).decode()
    (line,) = (line for line in stats.splitlines() if line.startswith("cmdstat_hset:"))
    assert 1 <= int(line.split("calls=")[1].split(",")[0]) <= 2


async def test_durability_that_the_server_has_not_is_refused(log: Log, name: str) -> None:
    """Asking for more than this Redis can do is the caller's mistake, and nothing is written."""
    await create(log, name)
    facts = log.store.shards[0].facts
    assert facts is not None
    refused = await refusal(append(log, name, b"x", durability="replicated:1"))
    assert (refused.status, refused.slug) == (400, "durability-unavailable")
    if facts.has_true_waitaof:
        acknowledged = await append(log, name, b"x", durability="fsynced")
        assert str(acknowledged.durability) == "fsynced"
    else:
        refused = await refusal(append(log, name, b"x", durability="fsynced"))
        assert (refused.status, refused.slug) == (400, "durability-unavailable")
        assert "STREAMSITE_DURABILITY=fsynced" in refused.detail
        assert "appendfsync always" in refused.detail
        assert await read_all(log, name) == []


async def test_bad_offsets_are_told_apart(log: Log, name: str) -> None:
    """Malformed and future ones were never given; foreign ones may have been lost."""
    base = await create(log, name)
    tail = (await append(log, name, b"x")).offset
    generation = parse_offset(base).generation
    for offset in ("x", "", "5", f"{generation + 10**9:016d}_{1:016d}"):
        error = await refusal(log.read(name, offset, 10))
        assert (error.status, error.slug) == (400, "bad-offset")
    for offset in (f"{1:016d}_{1:016d}", f"{generation:016d}_{2:016d}", f"{generation + 1:016d}_{1:016d}"):
        error = await refusal(log.read(name, offset, 10))
        assert (error.status, error.slug) == (410, "stream-rewound")
        assert error.members == {"earliest_offset": base, "tail_offset": tail}
    now = await log.read(name, "now", 10)
    assert (now.events, now.next_offset, now.is_up_to_date) == ([], tail, True)


async def test_damaged_data_are_told(log: Log, name: str) -> None:
    """A flipped bit in the log's memory or file is seen when the event is read."""
    await create(log, name)
    await append(log, name, b"good")
    keys = StreamKeys.of(name)
    ((entry_id, fields),) = await raw(log, name, "XRANGE", keys.entries, "-", "+")
    await raw(log, name, "XDEL", keys.entries, entry_id)
    generation = int(entry_id.split(b"-")[0])
    fields[1] = b"gooe"
    await raw(log, name, "DEL", keys.entries)
    await raw(log, name, "XADD", keys.entries, f"{generation}-1", *fields)
    (event,) = await read_all(log, name)
    assert event.is_corrupt


@pytest.mark.parametrize("field", ["data", "type", "request id", "traceparent", "crc", "time", "bytes"])
async def test_damage_in_any_field_hurts_nobody(one_log: Log, name: str, shift: Shift, field: str) -> None:
    """It is told with its offset, never an error of ours; the stream can be read, written, counted back and trimmed."""
    await create(one_log, name, retention="age=100, bytes=30")
    await append(one_log, name, b"good")
    offset = (await one_log.append(name, AppendRequest([NewEvent(b"damaged", "t", "r", "p")], "text/plain"))).offset
    await append(one_log, name, b"fine")
    at = {"data": 1, "type": 3, "request id": 5, "traceparent": 7, "crc": 9, "time": 11, "bytes": 13}[field]
    entries = await raw(one_log, name, "XRANGE", StreamKeys.of(name).entries, "-", "+")
    value = entries[1][1][at]
    entries[1][1][at] = bytes([value[0] ^ 0x80]) + value[1:]
    await raw(one_log, name, "DEL", StreamKeys.of(name).entries)
    for entry_id, fields in entries:
        await raw(one_log, name, "XADD", StreamKeys.of(name).entries, entry_id, *fields)
    events = await read_all(one_log, name)
    assert [event.offset for event in events if event.is_corrupt] == ([] if field == "bytes" else [offset])
    assert events[1].is_corrupt == ((events[1].type, events[1].time_ms) == ("message", 0))
    assert events[1].offset == offset
    assert [event.data for event in (await one_log.read(name, "-1", 100, last=1)).events] == [b"fine"]
    await append(one_log, name, b"x" * 27)  # the bound in bytes removes all before it
    assert texts(await read_all(one_log, name)) == ["x" * 27]
    assert (await one_log.state(name)).bytes == 27
    shift(200_000)
    assert await read_all(one_log, name) == []
    await Sweeper(one_log).sweep_stream(name)
    assert (await one_log.state(name)).count == 0


async def test_damaged_time_is_trimmed_by_age(one_log: Log, name: str, shift: Shift) -> None:
    """It does not hold what follows for ever."""
    await create(one_log, name, retention="age=100")
    await append(one_log, name, b"1", b"2", b"3")
    entries = await raw(one_log, name, "XRANGE", StreamKeys.of(name).entries, "-", "+")
    entries[0][1][11] = b"x"
    await raw(one_log, name, "DEL", StreamKeys.of(name).entries)
    for entry_id, fields in entries:
        await raw(one_log, name, "XADD", StreamKeys.of(name).entries, entry_id, *fields)
    assert [event.is_corrupt for event in await read_all(one_log, name)] == [True, False, False]
    shift(200_000)
    await Sweeper(one_log).sweep_stream(name)
    assert (await one_log.state(name)).count == 0


async def test_deleted_stream_is_freed_behind_the_scenes(one_log: Log, name: str) -> None:
    """Freeing a large one would hold up everybody else."""
    await create(one_log, name)
    await append(one_log, name, b"x")
    await raw(one_log, name, "CONFIG", "RESETSTAT")
    await one_log.delete(name)
    stats = (await raw(one_log, name, "INFO", "commandstats")).decode()
    assert "cmdstat_unlink:" in stats
    assert "cmdstat_del:" not in stats


async def test_read_survives_a_connection_that_died_while_idle(one_log: Log, name: str) -> None:
    """Redis closed it a moment ago, and nobody has noticed: the read is made again on a new one."""
    await create(one_log, name)
    await append(one_log, name, b"x")
    with redis.Redis.from_url(one_log.store.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    assert texts(list((await one_log.read(name, "-1", 10)).events)) == ["x"]
