"""The idempotent producer against a server that fails on command: each event once, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from streaming.client import (
    ClientError,
    GaveUp,
    ProblemAnswer,
    Producer,
    ProducerFenced,
    Site,
    StreamIsClosed,
    create_stream,
)
from tests.support.deadlines import bound
from tests.support.flaky_server import Fault, FlakyServer, flaky_server

TEXT = "text/plain"
JSON = "application/json"
DROPPED_REPLY = Fault("POST", takes=True)
DROPPED_REQUEST = Fault("POST")
OUTCOME_UNKNOWN = Fault(
    "POST", takes=True, status=503, body=b'{"type":"/problems/outcome-unknown","detail":"may be in the log"}'
)


class Heard:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.errors: list[ClientError] = []
        self.waits_s: list[float] = []
        self.notices: list[str] = []
        self.failed = asyncio.Event()

    def waiting(self, error: ClientError, attempt: int, wait_s: float) -> None:
        self.failed.set()
        self.errors.append(error)
        self.waits_s.append(wait_s)

    def recovered(self) -> None:
        self.errors.append(ClientError("recovered"))

    def notice(self, text: str) -> None:
        self.notices.append(text)


@pytest.fixture
async def server() -> AsyncIterator[FlakyServer]:
    """A server for one test."""
    async with asyncio.timeout(bound(10)), flaky_server() as server:
        yield server


@pytest.fixture
async def site(server: FlakyServer) -> AsyncIterator[Site]:
    """A text stream `s` and a JSON stream `j` on it."""
    async with Site(server.url) as site:
        await create_stream(site, "s", TEXT)
        await create_stream(site, "j", JSON)
        yield site


def lines(count: int) -> list[bytes]:
    """Numbered lines."""
    return [b"line %d\n" % number for number in range(count)]


async def publish(producer: Producer, events: list[bytes]) -> None:
    """Append all, flush, leave."""
    async with producer:
        for event in events:
            await producer.append(event)


async def append_all(producer: Producer, events: list[bytes]) -> None:
    """Append without waiting for an answer."""
    for event in events:
        await producer.append(event)


async def test_text_lines_arrive_one_event_each_in_order(server: FlakyServer, site: Site) -> None:
    """Each append to a text stream is one event, in the order of the appends."""
    await publish(Producer(site, "s", TEXT), lines(100))
    assert server.streams["s"].data == lines(100)


async def test_json_values_are_joined_into_batches(server: FlakyServer, site: Site) -> None:
    """What gathers while a request is under way is one request, and a value that is an array stays one event."""
    values = [b'{"n":1}', b"[1,2]", *(b"%d" % number for number in range(500))]
    await publish(Producer(site, "j", JSON), values)
    assert server.streams["j"].data == values
    assert len(server.appends()) < 20


@pytest.mark.parametrize("fault", [DROPPED_REPLY, DROPPED_REQUEST, OUTCOME_UNKNOWN], ids=["reply", "request", "503"])
@pytest.mark.parametrize("stream", ["s", "j"])
async def test_failed_append_is_sent_again_under_the_same_seq(
    server: FlakyServer, site: Site, fault: Fault, stream: str
) -> None:
    """A dropped reply, a dropped request and an unknown outcome all end with the event in the stream once."""
    server.faults.extend([fault, fault])
    producer = Producer(site, stream, TEXT if stream == "s" else JSON)
    await publish(producer, [b"1", b"2", b"3"])
    assert server.streams[stream].data == [b"1", b"2", b"3"]
    assert server.appends()[:3] == [(0, 0)] * 3
    assert producer.statistics().duplicates == (1 if fault.takes else 0)


async def test_faults_in_the_middle_of_a_window_leave_order_and_count(server: FlakyServer, site: Site) -> None:
    """With several requests under way, those behind a failed one fall in line behind it."""
    # So short a buffer that the faults fall among the appends.
    producer = Producer(site, "s", TEXT, max_buffer_bytes=1000)
    async with producer:
        for number, line in enumerate(lines(600)):
            if number % 50 == 0:
                server.faults.append(DROPPED_REPLY if number % 100 else DROPPED_REQUEST)
            await producer.append(line)
    assert server.streams["s"].data == lines(600)


async def test_window_grows_over_a_slow_link(server: FlakyServer, site: Site) -> None:
    """Where requests do not overtake each other, more than one is under way."""
    producer = Producer(site, "s", TEXT)
    most = 0
    async with producer:
        for line in lines(300):
            await producer.append(line)
            await asyncio.sleep(0)
            most = max(most, producer.statistics().in_flight)
    assert most > 1
    assert server.streams["s"].data == lines(300)


async def test_restarted_server_gets_every_event_once(server: FlakyServer, site: Site) -> None:
    """Events that come while the server is away wait, and go on when it is back."""
    heard = Heard()
    producer = Producer(site, "s", TEXT, listener=heard)
    async with producer:
        for line in lines(20):
            await producer.append(line)
        await producer.flush()
        port = await server.stop()
        for line in lines(40)[20:]:
            await producer.append(line)
        await heard.failed.wait()
        await server.start(port)
    assert server.streams["s"].data == lines(40)
    assert str(heard.errors[-1]) == "recovered"


async def test_given_id_claims_the_next_epoch_on_403(server: FlakyServer, site: Site) -> None:
    """An id that the server holds at a higher epoch is claimed with one more, before anything is sent under it."""
    server.streams["s"].producers["mine"] = (2**52, 7)
    await publish(Producer(site, "s", TEXT, producer_id="mine"), lines(3))
    assert server.streams["s"].data == lines(3)
    assert server.streams["s"].producers["mine"] == (2**52 + 1, 2)


async def test_given_id_used_again_is_not_taken_for_a_repetition(server: FlakyServer, site: Site) -> None:
    """A second run under the same id publishes its events too; from epoch 0 they would pass as duplicates."""
    await publish(Producer(site, "s", TEXT, producer_id="mine"), lines(3))
    await asyncio.sleep(0.002)
    await publish(Producer(site, "s", TEXT, producer_id="mine"), lines(3))
    assert server.streams["s"].data == lines(3) * 2


async def test_fenced_producer_stops(server: FlakyServer, site: Site) -> None:
    """Once its events were taken, a producer whose id another one claims stops instead of claiming it back."""
    first = Producer(site, "s", TEXT, producer_id="mine")
    await first.append(b"1")
    await first.flush()
    server.streams["s"].producers["mine"] = (2**52, 0)
    await first.append(b"2")
    with pytest.raises(ProducerFenced):
        await first.flush()
    assert server.streams["s"].data == [b"1"]


async def test_uncertain_first_append_does_not_claim(server: FlakyServer, site: Site) -> None:
    """A first request that may have been taken is not sent under another epoch: that could double it."""
    server.faults.append(DROPPED_REPLY)
    server.faults.append(Fault("POST", status=403, headers={"producer-epoch": str(2**52)}))
    producer = Producer(site, "s", TEXT, producer_id="mine")
    await producer.append(b"1")
    with pytest.raises(ProducerFenced):
        await producer.flush()
    await producer.aclose()
    assert server.streams["s"].data == [b"1"]


@pytest.mark.parametrize(("known", "lost"), [((0, 2), 2), ((-1, 9), 5), (None, 5)], ids=["seq", "epoch", "all"])
async def test_server_that_went_back_is_reported_and_gets_the_rest(
    server: FlakyServer, site: Site, known: tuple[int, int] | None, lost: int
) -> None:
    """When acknowledged numbers are unknown again, that is said, and what follows is published under a new epoch."""
    heard = Heard()
    producer = Producer(site, "s", TEXT, listener=heard)
    async with producer:
        for line in lines(5):
            await producer.append(line)
        await producer.flush()
        producers = server.streams["s"].producers
        del producers[producer.producer_id]
        if known is not None:
            producers[producer.producer_id] = known
        for line in lines(8)[5:]:
            await producer.append(line)
    assert server.streams["s"].data == lines(8)
    assert f"no longer knows {lost} request(s)" in heard.notices[0]


async def test_retry_after_is_obeyed(server: FlakyServer, site: Site) -> None:
    """A server that asks for a wait is left alone for as long."""
    server.faults.append(Fault("POST", status=429, headers={"retry-after": "1"}))
    heard = Heard()
    began = asyncio.get_running_loop().time()
    await publish(Producer(site, "s", TEXT, listener=heard), lines(1))
    assert asyncio.get_running_loop().time() - began >= 1
    assert heard.waits_s[0] >= 1
    assert server.streams["s"].data == lines(1)


async def test_refusal_that_time_cannot_change_ends_the_producer(server: FlakyServer, site: Site) -> None:
    """A 400 is not repeated: the producer fails with the problem that the server gave."""
    problem = b'{"type":"/problems/bad-json","detail":"no","request_id":"abcdefgh"}'
    server.faults.append(Fault("POST", status=400, body=problem))
    producer = Producer(site, "s", TEXT)
    await producer.append(b"x")
    with pytest.raises(ProblemAnswer, match=r"400 bad-json: no \(request abcdefgh\)"):
        await producer.flush()
    with pytest.raises(ProblemAnswer):
        await producer.append(b"y")
    assert len(server.appends()) == 1


async def test_closed_stream_ends_the_producer(server: FlakyServer, site: Site) -> None:
    """An append to a closed stream is an error of its own kind."""
    server.streams["s"].is_closed = True
    producer = Producer(site, "s", TEXT)
    await producer.append(b"x")
    with pytest.raises(StreamIsClosed):
        await producer.flush()


async def test_close_with_a_dropped_reply_closes_once(server: FlakyServer, site: Site) -> None:
    """Closing is repeated like an append, and what was appended before is there."""
    async with Producer(site, "s", TEXT) as producer:
        await producer.append(b"1")
        await producer.flush()
        server.faults.append(DROPPED_REPLY)
        await producer.close_stream()
    assert server.streams["s"].is_closed
    assert server.streams["s"].data == [b"1"]


async def test_time_for_retries_over_is_an_error(server: FlakyServer, site: Site) -> None:
    """With a timeout a server that stays away is given up, and the last failure is the cause."""
    await server.stop()
    producer = Producer(site, "s", TEXT, timeout_s=0.3)
    await producer.append(b"x")
    with pytest.raises(GaveUp) as caught:
        await producer.flush()
    assert isinstance(caught.value.__cause__, ClientError)


async def test_full_buffer_makes_append_wait(server: FlakyServer, site: Site) -> None:
    """What waits for the server is bounded, so memory is."""
    port = await server.stop()
    producer = Producer(site, "s", TEXT, max_buffer_bytes=1000)
    appending = asyncio.create_task(append_all(producer, lines(1000)))
    _, pending = await asyncio.wait({appending}, timeout=0.3)
    assert pending
    appending.cancel()
    assert producer.statistics().waiting_events < 20
    await server.start(port)
    await producer.flush()
    count = len(server.streams["s"].data)
    assert server.streams["s"].data == lines(count)


async def test_types_are_kept_and_split_batches(server: FlakyServer, site: Site) -> None:
    """The type is a header of a request, so values of different types go in different requests."""
    async with Producer(site, "j", JSON) as producer:
        for number in range(6):
            await producer.append(b"%d" % number, type="even" if number % 2 == 0 else "odd")
    types = [event_type for event_type, _ in server.streams["j"].events]
    assert types == ["even", "odd"] * 3
