"""Group commit: how many calls it takes, and what an append is told whose reply does not come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest
import redis

from streaming import failpoints
from streaming.errors import StoreError
from streaming.keys import StreamKeys
from streaming.log import group_commit
from streaming.log.log import Log
from streaming.log.outcome import Appended
from tests.streaming.log.scene import MIB, append, create, open_log, read_all, refusal, texts
from tests.support.deadlines import bound
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx

Arm = Callable[[str], None]
SHORT_S = 0.3
"""Deadline of an append that is meant to miss it."""


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Arm what a variable of this text would."""
    return lambda text: monkeypatch.setattr(failpoints, "_armed", failpoints._parse(text))


@pytest.fixture
def proxy(one_server: RedisServer) -> Iterator[Tcpx]:
    """A proxy before the server that can swallow replies."""
    with Tcpx(("127.0.0.1", one_server.port or 0), marks=[b"EVALSHA", b"INFO"]) as started:
        yield started


def _script_calls(server: RedisServer) -> int:
    with server.client() as client:
        stats = client.info("commandstats")
        return sum(stats.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("evalsha", "eval"))


async def _attached(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(bound(1.0)):
        while not condition():  # noqa: ASYNC110 - what is counted has no event
            await asyncio.sleep(0.005)


async def test_appends_that_wait_together_take_one_call(one_server: RedisServer, one_log: Log, name: str) -> None:
    """A thousand concurrent appends to one stream are a handful of script calls."""
    await create(one_log, name)
    await append(one_log, name, b"first")
    before = _script_calls(one_server)
    await asyncio.gather(*(append(one_log, name, b"%d" % n) for n in range(1000)))
    assert _script_calls(one_server) - before <= 3
    assert texts(await read_all(one_log, name)) == ["first", *map(str, range(1000))]


async def test_group_makes_one_call_for_each_stream(one_server: RedisServer, one_log: Log, name: str) -> None:
    """A script touches one stream."""
    for n in range(4):
        await create(one_log, f"{name}/{n}")
    await append(one_log, f"{name}/0", b"first")
    before = _script_calls(one_server)
    await asyncio.gather(*(append(one_log, f"{name}/{n % 4}", b"%d" % n) for n in range(100)))
    assert 4 <= _script_calls(one_server) - before <= 8


async def test_group_is_bounded_in_bytes(one_server: RedisServer, one_log: Log, name: str) -> None:
    """Redis does nothing else while it runs a script, so large appends travel in several."""
    await create(one_log, name)
    before = _script_calls(one_server)
    await asyncio.gather(*(append(one_log, name, b"x" * MIB) for _ in range(20)))
    assert _script_calls(one_server) - before >= 3
    assert len(await read_all(one_log, name)) == 20
    await one_log.delete(name)


async def test_lost_reply_is_an_unknown_outcome_and_never_sent_twice(proxy: Tcpx, one_log: Log, name: str) -> None:
    """The append is in the log once; only the producer's own repetition finds that out."""
    await create(one_log, name)
    async with open_log(proxy.redis_url) as log:
        await append(log, name, b"before", producer=("p", 0, 0))
        proxy.drop_reply(b"EVALSHA")
        unknown = await refusal(append(log, name, b"lost", producer=("p", 0, 1)))
        assert (unknown.status, unknown.slug) == (503, "outcome-unknown")
        again = await append(log, name, b"lost", producer=("p", 0, 1))
        assert again.is_duplicate
        events = await read_all(log, name)
        assert texts(events) == ["before", "lost"]
        assert again.offset == events[1].offset
    assert proxy.dropped_replies() == 1


async def test_silent_server_ends_in_an_unknown_outcome_at_the_deadline(proxy: Tcpx, one_log: Log, name: str) -> None:
    """Nobody waits longer than asked, and what comes later goes on another connection."""
    await create(one_log, name)
    async with open_log(proxy.redis_url, timeout_s=SHORT_S) as log:
        await append(log, name, b"1")
        proxy.stall("down")
        began = asyncio.get_running_loop().time()
        unknown = await refusal(append(log, name, b"2"))
        assert unknown.slug == "outcome-unknown"
        assert asyncio.get_running_loop().time() - began < SHORT_S + bound(0.2)
        proxy.heal()
        await asyncio.sleep(0.3)
        await append(log, name, b"3")
    assert texts(await read_all(one_log, name)) == ["1", "2", "3"]


async def test_append_that_was_given_up_while_connecting_is_never_sent(proxy: Tcpx, one_log: Log, name: str) -> None:
    """It was told that nothing was done: so nothing may be done later, when the connection comes."""
    await create(one_log, name)
    async with open_log(proxy.redis_url) as log:
        proxy.stall("down")

        async def append_within(timeout_s: float, data: bytes) -> Appended:
            log.append_timeout_s = timeout_s
            return await append(log, name, data)

        # Both are in one group: it is on its way as long as the patient one may wait.
        given_up = asyncio.create_task(refusal(append_within(SHORT_S, b"given up")))
        patient = asyncio.create_task(append_within(bound(2.0), b"patient"))
        error = await given_up
        assert (error.status, error.slug) == (503, "store-unavailable")
        proxy.heal()
        await patient
        assert texts(await read_all(one_log, name)) == ["patient"]


async def test_cancelled_append_that_waits_is_never_sent(proxy: Tcpx, one_log: Log, name: str) -> None:
    """Its caller is gone before it left."""
    await create(one_log, name)
    async with open_log(proxy.redis_url) as log:
        await append(log, name, b"1")
        proxy.stall("down")
        first = asyncio.create_task(append(log, name, b"2"))
        await asyncio.sleep(0.02)
        second, third = (asyncio.create_task(append(log, name, data)) for data in (b"cancelled", b"3"))
        await asyncio.sleep(0)
        second.cancel()
        proxy.heal()
        await asyncio.gather(first, third)
        assert second.cancelled() or second.cancelling()
        assert texts(await read_all(one_log, name)) == ["1", "2", "3"]


async def test_killed_server_is_an_unknown_outcome_or_nothing(own_server: RedisServer, name: str) -> None:
    """Of a stream of appends over a kill, what was acknowledged is there, and nothing is there twice."""
    async with open_log(own_server.url) as log:
        await create(log, name)
        acknowledged: list[str] = []
        slugs: set[str] = set()
        stop = asyncio.Event()

        async def appender(worker: int) -> None:
            n = 0
            while not stop.is_set():
                data = f"{worker}:{n}"
                try:
                    await append(log, name, data.encode())
                    acknowledged.append(data)
                except StoreError as error:
                    slugs.add(error.slug)
                    await asyncio.sleep(0.01)
                n += 1

        tasks = [asyncio.create_task(appender(worker)) for worker in range(8)]
        await _attached(lambda: len(acknowledged) > 200)
        await asyncio.to_thread(own_server.kill)
        await asyncio.to_thread(own_server.restart)
        count = len(acknowledged)
        await _attached(lambda: len(acknowledged) > count + 200)
        stop.set()
        await asyncio.gather(*tasks)
        found = texts(await read_all(log, name))
        assert set(acknowledged) <= set(found)
        assert len(found) == len(set(found))
        assert slugs <= {"outcome-unknown", "store-unavailable"}
        for worker in range(8):
            mine = [int(data.split(":")[1]) for data in found if data.startswith(f"{worker}:")]
            assert mine == sorted(mine)


@pytest.mark.parametrize(
    ("failpoint", "slug", "is_written"),
    [
        ("before_append=drop", "store-unavailable", False),
        ("after_append_before_durable=drop", "outcome-unknown", True),
        ("after_append=drop", "outcome-unknown", True),
        ("before_append=error", "outcome-unknown", False),
        ("after_append=error", "outcome-unknown", True),
    ],
)
async def test_answer_says_what_is_known(
    one_log: Log, name: str, arm: Arm, failpoint: str, slug: str, is_written: bool
) -> None:
    """`store-unavailable` only when nothing was sent."""
    await create(one_log, name)
    arm(f"{failpoint}@1")
    assert (await refusal(append(one_log, name, b"x"))).slug == slug
    assert texts(await read_all(one_log, name)) == ["x"] * is_written
    await append(one_log, name, b"y")


async def test_connection_that_died_while_idle_costs_no_append(
    one_server: RedisServer, one_log: Log, name: str
) -> None:
    """Once the loop has seen that the other end hung up, the next append takes a new connection."""
    await create(one_log, name)
    await append(one_log, name, b"1")
    with redis.Redis.from_url(one_server.url) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    await append(one_log, name, b"2")


async def test_closing_lets_waiting_appends_be_answered(one_server: RedisServer, one_log: Log, name: str) -> None:
    """What was taken is answered, and no task is left."""
    await create(one_log, name)
    async with open_log(one_server.url) as log:
        tasks = [asyncio.create_task(append(log, name, b"%d" % n)) for n in range(10)]
        await asyncio.sleep(0)
    results = await asyncio.gather(*tasks)
    assert len({result.offset for result in results}) == 10
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "group-commit" and not task.done()]


async def test_push_of_many_tiny_events_stays_small(own_server: RedisServer, own_log: Log, name: str) -> None:
    """What travels in a push is bounded with its heads: ten thousand empty events are not a megabyte."""
    await create(own_log, name)
    with own_server.client() as client:
        subscription = client.pubsub()
        subscription.subscribe(StreamKeys.of(name).channel)
        assert subscription.get_message(timeout=bound(1.0))["type"] == "subscribe"
        await append(own_log, name, *[b""] * 5000)
        payload = subscription.get_message(timeout=bound(1.0))["data"]
        subscription.close()
    assert len(payload) < 2 * group_commit.MAX_PUSH_BYTES
