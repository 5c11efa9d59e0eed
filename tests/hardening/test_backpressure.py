"""Clients that don't read, applications that don't take, and what is left when either is gone."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.streamsite.server.served import LOOPS, Served, Wire
from tests.support.deadlines import eventually

pytestmark = pytest.mark.slow

LIMITS = {"leave_s": 0.3}
HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
GET_LIVE = b"GET /live" + HEAD + b"\r\n"
KB = 1024
READERS = 20
IS_HEAVY = "STREAMSITE_TEST_HEAVY" in os.environ
CONNECTS = 100_000 if IS_HEAVY else 10_000


@pytest.fixture(scope="module", params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The probe on each loop."""
    with Served(request.param, limits=LIMITS) as running:
        yield running


def until_stable(served: Served, name: str) -> int:
    """Wait until a count rises no more: two looks that agree, and it has begun."""
    seen = [0]

    def is_stable() -> bool:
        seen.append(served.count(name))
        return 0 < seen[-1] == seen[-2]

    eventually(is_stable, 4, f"{name} stands still")
    return seen[-1]


def never_read(served: Served, stack: contextlib.ExitStack, count: int) -> None:
    """Ask for 300 MB each, and look at none of it."""
    for _ in range(count):
        wire = stack.enter_context(served.wire(receive_bytes=4096))
        wire.send(b"GET /large?bytes=300000000" + HEAD + b"\r\n")
    until_stable(served, "produced")


def test_client_that_never_reads_costs_less_than_256_kb(served: Served) -> None:
    """`await send()` waits for it, so that the application makes no more than the kernel takes and one message."""
    with contextlib.ExitStack() as stack:
        never_read(served, stack, 2)  # what the first ones cost for ever
        before, produced = served.rss_bytes(), served.count("produced")
        never_read(served, stack, READERS)
        assert served.rss_bytes() - before < READERS * 256 * KB
        assert served.count("produced") - produced < READERS * 512 * KB, "the kernel holds the rest, for nobody"
    served.until("running", 1)


def test_one_large_message_is_held_once(served: Served) -> None:
    """It has to be held, for the application gave it away; copies of it need not be."""
    size = 2_000_000
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(served.wire(receive_bytes=4096)) for _ in range(READERS)]
        before = served.rss_bytes()
        for wire in wires:
            wire.send(b"GET /large?bytes=%d&part=%d" % (100 * size, size) + HEAD + b"\r\n")
        until_stable(served, "produced")
        assert served.rss_bytes() - before < READERS * (size + 512 * KB)
    served.until("running", 1)


def test_body_that_nobody_takes_is_left_with_its_sender(served: Served) -> None:
    """Of 100 MB for an application that does not read the kernel's buffers fill, and 64 KB of ours."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(served.wire()) for _ in range(READERS)]
        before = served.rss_bytes()
        for wire in wires:
            wire.send(b"POST /closed" + HEAD + b"Content-Length: 100000000\r\n\r\n")
            wire.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(1600):
                    wire.socket.send(b"a" * 65536)
        served.until("held", READERS)
        assert served.count("closed") == READERS
        assert served.rss_bytes() - before < READERS * 256 * KB
        for wire in wires:
            wire.reset()  # an orderly end would wait in the client's kernel, behind what the server's does not take
    served.until("connections", 1)
    served.until("running", 1)  # it waits for something else, and is cancelled


def test_body_arrives_as_it_is_sent(served: Served) -> None:
    """100 MB into an application that reads: all of it, in parts, at no more memory than a part."""
    size = 100_000_000
    with served.wire() as wire:
        before = served.rss_bytes()
        wire.send(b"POST /size" + HEAD + b"Content-Length: %d\r\n\r\n" % size)
        part = b"a" * 1_000_000
        most = 0
        for _ in range(size // len(part)):
            wire.send(part)
            most = max(most, served.rss_bytes())
        assert wire.answer().body == b"%d" % size
        assert most - before < 4096 * KB


def test_tiny_chunks_cost_no_more_than_large_ones(served: Served) -> None:
    """64 KB of a body in two bytes each are 32,000 objects, and would be two megabytes."""
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(served.wire()) for _ in range(READERS)]
        before = served.rss_bytes()
        for wire in wires:
            wire.send(b"POST /closed" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            wire.send(b"2\r\nab\r\n" * 40_000)
        served.until("running", READERS + 1)
        served.until("held", READERS)
        assert served.rss_bytes() - before < READERS * 768 * KB
        for wire in wires:
            wire.reset()
    served.until("running", 1)


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("behind", [b"", b"GET /hello" + HEAD + b"\r\n", b"GET /hello" + HEAD + b"X: " + b"a" * 8000 + b"\r\n\r\n"],
                         ids=["nothing", "a request", "more than is read"])  # fmt: skip
def test_leaving_is_noticed_behind_pipelined_requests(served: Served, behind: bytes, is_reset: bool) -> None:
    """Within two seconds, though it stands behind bytes that are not read yet.

    As far as it got: where the client's kernel keeps bytes for which ours has no room, the end stays with them, and the
    next write shows it.
    """
    left = served.count("left")
    with served.wire() as wire:
        wire.send(GET_LIVE)
        while wire.line() != b"first\r\n":
            pass
        wire.send(behind * 12)
        if is_reset:
            wire.reset()
    eventually(lambda: served.count("left") == left + 1, 2, "the application was told")
    served.until("running", 1)


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
def test_leaving_is_noticed_behind_a_held_body(served: Served, is_reset: bool) -> None:
    """The application takes nothing, so nothing is read, and the end is behind what is not read."""
    served.until("running", 1)
    with served.wire() as wire:
        wire.send(b"POST /closed" + HEAD + b"Content-Length: 1000000\r\n\r\n" + b"a" * 100_000)
        served.until("held", 1)
        if is_reset:
            wire.reset()
    served.until("connections", 1)
    served.until("running", 1)  # it waits for something else, and is cancelled


@pytest.mark.parametrize(
    "sent",
    [b"GET /hel", b"POST /size" + HEAD + b"Content-Length: 9\r\n\r\nabc", b"GET /step?at=receive" + HEAD + b"\r\n",
     b"POST /closed" + HEAD + b"Content-Length: 9\r\n\r\nabc"],
    ids=["head", "body", "wait", "body that nobody takes"],
)  # fmt: skip
def test_reset_together_with_bytes_is_noticed(served: Served, sent: bytes) -> None:
    """Libuv looks no more at a socket that is broken when its bytes are read: nothing would ever tell of the end."""
    for _ in range(20):
        with served.wire() as wire:
            wire.send(sent)
            wire.reset()
    served.until("connections", 1)
    served.until("running", 1)


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("place", ["begin", "receive", "start", "between", "live", "send"])
def test_leaving_at_each_place_runs_finally(served: Served, place: str, is_reset: bool) -> None:
    """Wherever the application waits: it ends, its `finally` too, and nothing is left of it."""
    before = served.state()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(served.wire(receive_bytes=4096)) for _ in range(5)]
        for wire in wires:
            wire.send(b"GET /step?at=" + place.encode() + HEAD + b"\r\n")
        served.until("parked", 5)
        if place == "send":
            select.select([], [], [], 0.2)  # until the kernel takes no more
        for wire in wires:
            if is_reset:
                wire.reset()
            else:
                wire.close()
    served.until("ended", before.get("ended", 0) + 5)
    served.until("connections", 1)
    after = served.state()
    for name in ("tasks", "descriptors", "exchanges", "running", "held"):
        assert after[name] == before[name], name


def test_exception_in_one_answer_hurts_nobody_else(served: Served) -> None:
    """Before the first byte it is a 500, after it a broken connection; others go on, also on the same server later."""
    with served.wire() as other:
        other.send(GET_LIVE)
        while other.line() != b"first\r\n":
            pass
        answer = served.get("/fail")
        assert (answer.status, answer.slug) == (500, "internal")
        assert "secret" not in answer.body.decode()
        for target in ("/fail-late", "/unfinished", "/twice"):
            with served.wire() as wire:
                wire.send(b"GET " + target.encode() + HEAD + b"\r\n")
                rest = wire.rest()
                assert b"first" in rest
                assert not rest.endswith(b"0\r\n\r\n"), "it looks complete"
        assert served.get("/hello").status == 200
        assert not select.select([other.socket], [], [], 0)[0]
    served.until("live", 0)


def churn(served: Served, count: int) -> None:
    """Connect and leave, in each of the ways."""
    ways = (
        b"",
        b"GET /hel",
        b"GET /hello" + HEAD + b"\r\n",
        GET_LIVE,
        b"POST /size" + HEAD + b"Content-Length: 100\r\n\r\nabc",
        b"GET /large?bytes=1000000" + HEAD + b"\r\n",
        b"\x16\x03\x01",
        GET_LIVE + b"GET /hello" + HEAD + b"\r\n",
    )
    for number in range(count):
        wire = Wire.open(served.address)
        if sent := ways[number % len(ways)]:
            wire.send(sent)
        if number % 3:
            select.select([wire.socket], [], [], 0.001)
        if number % 2:
            wire.reset()
        else:
            wire.close()


def test_connects_and_leaves_leave_nothing(served: Served) -> None:
    """Memory, tasks and descriptors are back where they were."""
    churn(served, CONNECTS // 5)
    served.until("connections", 1, 10)
    served.until("running", 1)
    before = served.state()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: churn(served, CONNECTS // 4), range(4)))
    served.until("connections", 1, 10)
    served.until("running", 1)
    after = served.state()
    for name in ("tasks", "descriptors", "exchanges", "live", "held"):
        assert after[name] == before[name], name
    assert after["rss"] - before["rss"] < 4096 * KB
    assert served.metrics().total("stream_connections") == 1
