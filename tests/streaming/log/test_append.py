"""What an append promises, on every server: order, offsets without gaps, producers, closing."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.errors import RequestError, StoreError
from streaming.events import NewEvent, checksum
from streaming.keys import StreamKeys
from streaming.log.log import Log
from streaming.log.outcome import Appended, AppendRequest
from streaming.offsets import parse_offset
from tests.streaming.log.scene import append, create, raw, read_all, refusal, shift_redis_time, texts

BIGGEST = 2**53 - 1


async def test_events_come_back_as_they_were_appended(log: Log, name: str) -> None:
    """Data, type, request id and trace context are kept byte for byte; the time is Redis'."""
    await create(log, name)
    event = NewEvent(b"a\r\n\0\xff", "größe", "request-1", "00-ab-cd-01")
    appended = await log.append(name, AppendRequest([event], "text/plain"))
    (found,) = await read_all(log, name)
    assert (found.data, found.type, found.request_id, found.traceparent) == (
        event.data,
        event.type,
        event.request_id,
        event.traceparent,
    )
    seconds, _ = await raw(log, name, "TIME")
    assert abs(found.time_ms / 1000 - int(seconds)) < 60
    assert (found.offset, found.is_corrupt) == (appended.offset, False)


async def test_entry_is_as_the_data_format_says(one_log: Log, name: str) -> None:
    """The fields of an entry and of the state can't be changed later."""
    base = parse_offset(await create(one_log, name))
    await append(one_log, name, b"abc", b"de", producer=("p", 0, 0))
    keys = StreamKeys.of(name)
    entries = await raw(one_log, name, "XRANGE", keys.entries, "-", "+")
    assert [entry_id for entry_id, _ in entries] == [b"%d-1" % base.generation, b"%d-2" % base.generation]
    fields = entries[1][1]
    assert fields[::2] == [b"d", b"y", b"r", b"p", b"c", b"t", b"b"]
    assert (fields[1], fields[3], fields[9], fields[13]) == (
        b"de",
        b"message",
        b"%d" % checksum("message", b"de"),
        b"5",
    )
    state = await raw(one_log, name, "HGETALL", keys.state)
    assert set(state[::2]) == set(
        b"content_type media g q incarnation count bytes time closed expires ttl expires_text ttl_asked expires_asked deleted "
        b"seq floor base gone_count gone_bytes keep_age keep_count keep_bytes created durability chain source fork_offset "
        b"fork_sub pin".split()
    )
    producer = await raw(one_log, name, "HGET", keys.producers, "p")
    epoch, seq, since_ms, offset = producer.split(b" ")
    assert (epoch, seq, offset) == (b"0", b"0", b"%016d_%016d" % (base.generation, 2))
    assert int(since_ms) >= base.generation


async def test_base_offset_of_an_empty_stream_has_sequence_zero(log: Log, name: str) -> None:
    """The tail of an empty stream is a place to read from, and the first event follows it with sequence 1."""
    base = await create(log, name)
    assert parse_offset(base).sequence == 0
    page = await log.read(name, base, 1000)
    assert (page.events, page.next_offset, page.is_up_to_date) == ([], base, True)
    assert (await log.read(name, "-1", 1000)).next_offset == base
    first = await append(log, name, b"x")
    assert parse_offset(first.offset) == (parse_offset(base).generation, 1)
    assert texts(await read_all(log, name, base)) == ["x"]


async def test_offsets_rise_without_a_gap_within_a_generation(log: Log, name: str) -> None:
    """A gap would be told by arithmetic, so there is none."""
    base = parse_offset(await create(log, name))
    for size in (1, 3, 1, 5):
        await append(log, name, *[b"x"] * size)
    offsets = [event.offset for event in await read_all(log, name)]
    assert {len(offset) for offset in offsets} == {33}
    assert [parse_offset(offset) for offset in offsets] == [(base.generation, n) for n in range(1, 11)]


async def test_concurrent_appends_get_their_own_offsets_in_order(log: Log, name: str) -> None:
    """Appends that travel together are answered one by one, and a stream keeps the order in which they came."""
    await create(log, name)
    tasks = [asyncio.create_task(append(log, name, b"%d" % n)) for n in range(100)]
    offsets = [(await task).offset for task in tasks]
    events = await read_all(log, name)
    assert texts(events) == [str(n) for n in range(100)]
    assert [event.offset for event in events] == offsets


async def test_bad_append_in_a_group_does_not_hurt_the_others(log: Log, name: str) -> None:
    """Each append of a group is checked and answered by itself, also those to other streams."""
    await create(log, name)
    await create(log, f"{name}/b")
    good = [append(log, name, b"1"), append(log, f"{name}/b", b"b"), append(log, name, b"2")]
    bad = [
        append(log, name, b"x", media="application/json"),
        append(log, name, b"x", producer=("p", 0, 7)),
        append(log, f"{name}/missing", b"x"),
    ]
    results = await asyncio.gather(good[0], bad[0], good[1], bad[1], bad[2], good[2], return_exceptions=True)
    slugs = [result.slug if isinstance(result, RequestError) else "" for result in results]
    assert slugs == ["", "content-type-mismatch", "", "producer-gap", "not-found", ""]
    assert texts(await read_all(log, name)) == ["1", "2"]
    assert texts(await read_all(log, f"{name}/b")) == ["b"]


async def test_script_unknown_to_the_server_keeps_the_order(log: Log, name: str) -> None:
    """After SCRIPT FLUSH (a restart is one too) nothing is lost, doubled or reordered."""
    await create(log, name)
    for round_ in range(3):
        await raw(log, name, "SCRIPT", "FLUSH")
        tasks = [append(log, name, b"%d" % (round_ * 10 + n)) for n in range(10)]
        await asyncio.gather(*tasks)
    assert texts(await read_all(log, name)) == [str(n) for n in range(30)]


async def test_duplicate_gets_the_offset_of_the_first_time(log: Log, name: str) -> None:
    """The last eight appends of a producer are remembered with their offsets; an older one is known, its offset not."""
    await create(log, name)
    offsets = [(await append(log, name, b"%d" % seq, producer=("p", 0, seq))).offset for seq in range(10)]
    for seq in range(10):
        again = await append(log, name, b"%d" % seq, producer=("p", 0, seq))
        assert again.is_duplicate
        assert again.offset == (offsets[seq] if seq >= 2 else "")
        assert (again.producer_epoch, again.producer_seq) == (0, 9)
    assert len(await read_all(log, name)) == 10


async def test_duplicates_within_one_group_are_stored_once(log: Log, name: str) -> None:
    """A client that hurries sends the same append twice before the first is answered."""
    await create(log, name)
    twice = [append(log, name, b"%d" % seq, producer=("p", 0, seq)) for seq in (0, 0, 1, 0, 1)]
    results = await asyncio.gather(*twice)
    assert [result.is_duplicate for result in results] == [False, True, False, True, True]
    assert results[0].offset == results[1].offset == results[3].offset
    assert texts(await read_all(log, name)) == ["0", "1"]


async def test_producer_rules(log: Log, name: str) -> None:
    """Gap, stale epoch and an epoch that does not begin with 0 are refused with what would be right."""
    await create(log, name)
    gap = await refusal(append(log, name, b"x", producer=("p", 0, 1)))
    assert (gap.slug, gap.headers) == ("producer-gap", {"Producer-Expected-Seq": "0", "Producer-Received-Seq": "1"})
    await append(log, name, b"a", producer=("p", 3, 0))
    gap = await refusal(append(log, name, b"x", producer=("p", 3, 2)))
    assert gap.headers == {"Producer-Expected-Seq": "1", "Producer-Received-Seq": "2"}
    fenced = await refusal(append(log, name, b"x", producer=("p", 2, 0)))
    assert (fenced.status, fenced.slug, fenced.headers) == (403, "producer-fenced", {"Producer-Epoch": "3"})
    start = await refusal(append(log, name, b"x", producer=("p", 4, 1)))
    assert (start.status, start.slug) == (400, "producer-epoch-start")
    await append(log, name, b"b", producer=("p", 4, 0))
    await append(log, name, b"c", producer=("q", 0, 0))
    assert (await refusal(append(log, name, b"x", producer=("p", 3, 0)))).slug == "producer-fenced"
    assert texts(await read_all(log, name)) == ["a", "b", "c"]


async def test_greatest_producer_numbers_are_exact(log: Log, name: str) -> None:
    """2^53 - 1 comes back as itself: Lua's own text of a number has 14 digits."""
    await create(log, name)
    await append(log, name, b"x", producer=("p", BIGGEST, 0))
    fenced = await refusal(append(log, name, b"x", producer=("p", BIGGEST - 1, 0)))
    assert fenced.headers == {"Producer-Epoch": str(BIGGEST)}
    gap = await refusal(append(log, name, b"x", producer=("p", BIGGEST, BIGGEST)))
    assert gap.headers["Producer-Received-Seq"] == str(BIGGEST)
    keys = StreamKeys.of(name)
    await raw(log, name, "HSET", keys.producers, "q", f"{BIGGEST} {BIGGEST - 1} {'0' * 16}_{'0' * 16}")
    last = await append(log, name, b"last", producer=("q", BIGGEST, BIGGEST))
    assert (last.producer_epoch, last.producer_seq) == (BIGGEST, BIGGEST)
    again = await append(log, name, b"last", producer=("q", BIGGEST, BIGGEST))
    assert (again.is_duplicate, again.offset) == (True, last.offset)


class _Model:
    """What producers may do, written down a second time."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.closed = False
        self.producers: dict[str, tuple[int, list[int]]] = {}

    def append(self, data: bytes, close: bool, producer: tuple[str, int, int]) -> tuple[str, int]:
        """The code of the result, and the number of events after the append that it speaks of (-1: forgotten)."""
        name, epoch, seq = producer
        last_epoch, ends = self.producers.get(name, (-1, []))
        if epoch < last_epoch:
            return "producer-fenced", 0
        if epoch == last_epoch and seq < len(ends):
            return "duplicate", ends[seq] if seq >= len(ends) - 8 else -1
        if self.closed:
            return "stream-closed", 0
        if last_epoch >= 0 and epoch > last_epoch and seq:
            return "producer-epoch-start", 0
        if seq > (len(ends) if epoch == last_epoch else 0):
            return "producer-gap", 0
        self.data.append(data)
        self.closed = close
        self.producers[name] = (epoch, [*(ends if epoch == last_epoch else []), len(self.data)])
        return "ok", len(self.data)


Step = tuple[tuple[str, int, int], bool, bool]
"""Producer, epoch and seq (-1: the right one); close?; end of the group?"""
STEPS = st.lists(
    st.tuples(
        st.tuples(
            st.sampled_from(["p", "q"]), st.sampled_from([0, 0, 0, 1, 2]), st.one_of(st.just(-1), st.integers(0, 12))
        ),
        st.integers(0, 40).map(lambda n: n == 0),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_producers_behave_like_the_model(one_server_loop: asyncio.Runner, loop_log: Log, steps: list[Step]) -> None:
    """Any sequence of appends, alone or in groups, ends as a model in Python says."""
    one_server_loop.run(_compare_with_model(loop_log, steps))


async def _compare_with_model(log: Log, steps: list[Step]) -> None:
    name = f"model/{secrets.token_hex(8)}"
    await create(log, name)
    model = _Model()
    group: list[Coroutine[Any, Any, Appended]] = []
    expected: list[tuple[str, int]] = []
    offsets: dict[int, str] = {}
    for number, ((who, epoch, seq), close, flush) in enumerate(steps):
        if seq < 0:  # the next one that is right
            last_epoch, ends = model.producers.get(who, (-1, []))
            seq = len(ends) if epoch == last_epoch else 0  # noqa: PLW2901
        data = b"%d" % number
        expected.append(model.append(data, close, (who, epoch, seq)))
        group.append(append(log, name, data, close=close, producer=(who, epoch, seq)))
        if flush or number == len(steps) - 1:
            results = await asyncio.gather(*group, return_exceptions=True)
            for result, (code, count) in zip(results, expected, strict=True):
                if isinstance(result, RequestError):
                    assert result.slug == code
                    continue
                assert not isinstance(result, BaseException)
                assert ("duplicate" if result.is_duplicate else "ok") == code
                if code == "ok":
                    offsets[count] = result.offset
                assert result.offset == offsets.get(count, "")
            group, expected = [], []
    events = await read_all(log, name)
    assert [event.data for event in events] == model.data
    assert (await log.state(name)).is_closed == model.closed


async def test_stream_seq_must_rise_by_bytes(log: Log, name: str) -> None:
    """Compared as bytes, not as numbers nor as words of a language; what is refused changes nothing."""
    await create(log, name)
    for value in ("1", "10", "2", "B", "a", "ab", "b"):
        await append(log, name, value.encode(), stream_seq=value)
        again = await refusal(append(log, name, b"x", stream_seq=value))
        assert (again.status, again.slug) == (409, "sequence-regression")
    assert (await refusal(append(log, name, b"x", stream_seq="B"))).slug == "sequence-regression"
    await append(log, name, b"without")
    assert (await refusal(append(log, name, b"x", stream_seq="ab"))).slug == "sequence-regression"
    assert texts(await read_all(log, name)) == ["1", "10", "2", "B", "a", "ab", "b", "without"]


async def test_closed_stream_takes_nothing_and_says_where_it_ends(log: Log, name: str) -> None:
    """Closing with an event, closing again, appending after, duplicates of before."""
    await create(log, name)
    last = await append(log, name, b"last", close=True, producer=("p", 0, 0))
    assert last.is_closed
    closed = await refusal(append(log, name, b"more"))
    assert (closed.status, closed.slug) == (409, "stream-closed")
    assert closed.headers == {"Stream-Closed": "true", "Stream-Next-Offset": last.offset}
    assert (await refusal(append(log, name, b"x", close=True))).slug == "stream-closed"
    assert (await refusal(append(log, name, b"x", producer=("p", 0, 1)))).slug == "stream-closed"
    once_more = await append(log, name, close=True)
    assert (once_more.is_closed, once_more.offset) == (True, last.offset)
    again = await append(log, name, b"last", close=True, producer=("p", 0, 0))
    assert (again.is_duplicate, again.offset, again.is_closed) == (True, last.offset, True)
    page = await log.read(name, "-1", 1000)
    assert (page.is_end, texts(list(page.events))) == (True, ["last"])


async def test_close_without_an_event_closes(log: Log, name: str) -> None:
    """The tail stays where it was."""
    await create(log, name)
    tail = (await append(log, name, b"x")).offset
    closed = await append(log, name, close=True)
    assert (closed.offset, closed.is_closed) == (tail, True)
    assert (await log.read(name, tail, 1000)).is_end


async def test_append_to_nothing_is_not_found(log: Log, name: str) -> None:
    """Appending creates nothing."""
    missing = await refusal(append(log, name, b"x"))
    assert (missing.status, missing.slug) == (404, "not-found")
    assert (await refusal(log.state(name))).slug == "not-found"


async def test_too_many_producers_are_refused(one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream remembers a bounded number; those it knows go on."""
    monkeypatch.setattr("streaming.log.group_commit.MAX_PRODUCERS", 2)
    await create(one_log, name)
    for who in "pq":
        await append(one_log, name, b"x", producer=(who, 0, 0))
    assert (await refusal(append(one_log, name, b"x", producer=("r", 0, 0)))).slug == "too-many-producers"
    await append(one_log, name, b"x", producer=("q", 0, 1))


async def test_producer_that_was_silent_for_a_week_makes_room(
    log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run of a job may have its own producer id; who appended lately is remembered all the same."""
    monkeypatch.setattr("streaming.log.group_commit.MAX_PRODUCERS", 2)
    await create(log, name)
    shift = shift_redis_time(monkeypatch)
    shift(-8 * 86_400_000)
    await append(log, name, b"x", producer=("silent", 0, 0))
    shift(0)
    await append(log, name, b"x", producer=("lately", 0, 0))
    await append(log, name, b"x", producer=("new", 0, 0))
    assert (await append(log, name, b"x", producer=("lately", 0, 0))).is_duplicate
    known = await raw(log, name, "HKEYS", StreamKeys.of(name).producers)
    assert set(known) == {b"lately", b"new"}
    assert (await refusal(append(log, name, b"x", producer=("r", 0, 0)))).slug == "too-many-producers"


async def test_generation_rises_after_deletion_with_the_clock_set_back(
    log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An offset is never given to another event, whatever the clock says."""
    shift = shift_redis_time(monkeypatch)
    await create(log, name)
    old = (await append(log, name, b"old")).offset
    await log.delete(name)
    shift(-86_400_000)
    assert await create(log, name) > old
    new = await append(log, name, b"new")
    assert new.offset > old
    (event,) = await read_all(log, name)
    seconds, _ = await raw(log, name, "TIME")
    assert event.time_ms < (int(seconds) - 80_000) * 1000
    rewound = await refusal(log.read(name, old, 1000))
    assert (rewound.status, rewound.slug) == (410, "stream-rewound")
    assert rewound.members == {"earliest_offset": _base_of(new.offset), "tail_offset": new.offset}


def _base_of(offset: str) -> str:
    """The place before the first event of an offset's generation."""
    return f"{offset[:17]}{0:016d}"


async def test_time_never_falls_along_a_stream(log: Log, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the clock set back, an event has the time of the one before it."""
    shift = shift_redis_time(monkeypatch)
    await create(log, name)
    await append(log, name, b"1")
    shift(-3_600_000)
    await append(log, name, b"2")
    first, second = await read_all(log, name)
    assert second.time_ms == first.time_ms


async def test_overload_is_refused_before_anything_is_done(
    one_log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past the bound of what may wait an append fails at once."""
    monkeypatch.setattr("streaming.log.group_commit.MAX_QUEUED", 3)
    await create(one_log, name)
    results = await asyncio.gather(*(append(one_log, name, b"%d" % n) for n in range(5)), return_exceptions=True)
    assert [isinstance(result, StoreError) and result.slug for result in results] == [False] * 3 + ["overloaded"] * 2
    assert texts(await read_all(one_log, name)) == ["0", "1", "2"]


async def test_generation_rises_after_a_restart_with_the_clock_set_back(
    log: Log, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new incarnation whose clock is a day behind: offsets go on rising, after the stream's and the bucket's last."""
    shift = shift_redis_time(monkeypatch)
    await create(log, name)
    old = (await append(log, name, b"old")).offset
    keys = StreamKeys.of(name)
    ahead = parse_offset(old).generation + 5000
    await raw(log, name, "SET", keys.generation, ahead)
    await raw(log, name, "HSET", keys.state, "incarnation", "another")
    shift(-86_400_000)
    new = parse_offset((await append(log, name, b"new")).offset)
    assert (new.generation, new.sequence) == (ahead + 1, 1)
    assert texts(await read_all(log, name, old)) == ["new"]
