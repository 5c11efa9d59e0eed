"""Clients that take their time: each limit ends what it should, is counted and logged, and nothing else."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator

import pytest

from tests.streamsite.server.served import Served, Wire
from tests.support.deadlines import eventually

pytestmark = pytest.mark.slow

LIMITS = {
    "head_s": 0.5,
    "idle_s": 0.5,
    "body_grace_s": 0.5,
    "body_s": 2.5,
    "write_s": 1.0,
    "linger_s": 1.0,
    "leave_s": 0.3,
}
HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /size" + HEAD + b"Content-Length: 1000000\r\n\r\n"
UNREAD = {"receive_bytes": 4096}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The probe with short limits, on one loop: they know nothing of it but its clock."""
    with Served(limits=LIMITS) as running:
        yield running


class Timeouts:
    """How often a limit was met since the test began."""

    def __init__(self, served: Served, phase: str) -> None:
        self._served = served
        self._phase = phase
        self._before = self._counted()
        self._logged = len(self._lines())

    def _counted(self) -> float:
        return self._served.metrics().total("stream_connections_timed_out_total", phase=self._phase)

    def _lines(self) -> list[object]:
        return [line for line in self._served.logged("connection.timed_out") if line["phase"] == self._phase]

    def check(self, times: int = 1) -> None:
        """So often, and with as many lines in the log."""
        eventually(lambda: self._counted() - self._before == times, 1, f"counted as {self._phase}")
        assert len(self._lines()) - self._logged == times


def drip(wire: Wire, data: bytes, every_s: float) -> float:
    """Send a byte now and then, until the server says something.

    Returns: how long that took.
    """
    began = time.monotonic()
    for byte in data:
        wire.send(bytes([byte]))
        if select.select([wire.socket], [], [], every_s)[0]:
            return time.monotonic() - began
    raise AssertionError("all was sent, and the server said nothing")


def take_slowly(wire: Wire, size: int, every_s: float, parts: int) -> int:
    """Read so many bytes in parts with a pause before each."""
    taken = 0
    for _ in range(parts):
        select.select([], [], [], every_s)  # what a slow client does
        taken += len(wire.take(min(size // parts, size - taken)))
    return taken + len(wire.take(size - taken))


def test_slow_head_is_408(served: Served) -> None:
    """A byte now and then renews nothing."""
    timeouts = Timeouts(served, "head")
    with served.wire() as wire:
        took_s = drip(wire, b"GET /" + b"a" * 1000, 0.05)
        answer = wire.answer()
        assert (answer.status, answer.slug) == (408, "request-timeout")
        assert wire.rest() == b""
        assert took_s < 5 * LIMITS["head_s"]
    timeouts.check()


def test_silent_connection_is_closed(served: Served) -> None:
    """From the start as long as for a head; there is no request that could be answered."""
    with served.wire() as wire:
        assert wire.rest() == b""


def test_slow_body_is_408(served: Served) -> None:
    """Below the least rate after the grace: the application is told that the client has left."""
    timeouts = Timeouts(served, "body")
    with served.wire() as wire:
        wire.send(POST)
        drip(wire, b"a" * 1000, 0.05)
        answer = wire.answer()
        assert (answer.status, answer.slug) == (408, "request-timeout")
        assert wire.rest() == b""
    timeouts.check()
    served.until("running", 1)


def test_endless_body_is_408(served: Served) -> None:
    """Fast enough at each moment, and too long in all."""
    timeouts = Timeouts(served, "body")
    with served.wire() as wire:
        wire.send(POST)
        while not select.select([wire.socket], [], [], 0.1)[0]:
            wire.send(b"a" * 1000)
        assert wire.answer().status == 408
    timeouts.check()


def test_slow_application_is_not_the_clients_fault(served: Served) -> None:
    """A body that nobody asks for is not late, however little of it has come."""
    timeouts = Timeouts(served, "body")
    with served.wire() as wire:
        wire.send(b"POST /closed" + HEAD + b"Content-Length: 10\r\n\r\n")
        served.until("closed", 1)
        assert not select.select([wire.socket], [], [], 2.0)[0]
        served.get("/open")
        assert wire.answer().body == b"at last"
    timeouts.check(0)


def test_idle_connection_is_closed_without_a_word(served: Served) -> None:
    """An answer that nobody asked for would be taken for the next one's."""
    timeouts = Timeouts(served, "idle")
    with served.wire() as wire:
        assert wire.ask("/hello").status == 200
        assert wire.rest() == b""
    timeouts.check()


def test_busy_connection_is_not_idle(served: Served) -> None:
    """A live answer without events lasts longer than any idle time."""
    with served.wire() as wire:
        wire.send(b"GET /live" + HEAD + b"\r\n")
        assert wire.line() == b"HTTP/1.1 200 OK\r\n"
        wire.take(len(b"first"))
        while wire.line() != b"5\r\n":
            pass
        wire.take(len(b"first\r\n"))
        assert not select.select([wire.socket], [], [], 1.5 * max(LIMITS["idle_s"], LIMITS["write_s"]))[0]


def test_client_that_reads_nothing_is_given_up(served: Served) -> None:
    """The connection is broken, so that nobody takes the part for the whole, and the application is told."""
    timeouts = Timeouts(served, "write")
    left = served.count("client_left")
    with served.wire(**UNREAD) as wire:
        wire.send(b"GET /large?bytes=100000000&known=1" + HEAD + b"\r\n")
        served.until("client_left", left + 1, 4 * LIMITS["write_s"])
        assert len(wire.rest()) < 100_000_000
    timeouts.check()


def test_client_that_reads_slowly_is_served(served: Served) -> None:
    """Progress counts, not speed."""
    timeouts = Timeouts(served, "write")
    size = 4_000_000
    with served.wire(**UNREAD) as wire:
        wire.send(b"GET /large?bytes=%d&known=1" % size + HEAD + b"\r\n")
        while wire.line() != b"\r\n":
            pass
        assert take_slowly(wire, size, 0.4, 6) == size
    timeouts.check(0)


@pytest.mark.parametrize(
    "request_", [b"GET /large?bytes=16000000&part=16000000&known=1" + HEAD + b"Connection: close\r\n\r\n",
                 b"POST /refuse-large" + HEAD + b"Content-Length: 10\r\n\r\n"],
    ids=["last answer", "answer before the body"],
)  # fmt: skip
def test_slow_client_gets_the_last_answer_whole(served: Served, request_: bytes) -> None:
    """The time for a last goodbye begins when the answer is with the kernel, not when the application is done."""
    with served.wire(**UNREAD) as wire:
        wire.send(request_)
        while wire.line() != b"\r\n":
            pass
        assert take_slowly(wire, 16_000_000, 0.4, 6) == 16_000_000
        assert wire.rest() == b""


def test_client_that_does_not_take_the_last_answer_is_given_up(served: Served) -> None:
    """It ends there too."""
    timeouts = Timeouts(served, "write")
    with served.wire(**UNREAD) as wire:
        wire.send(b"GET /large?bytes=40000000&part=40000000" + HEAD + b"Connection: close\r\n\r\n")
        served.until("connections", 1, 4 * LIMITS["write_s"])
        assert len(wire.rest()) < 40_000_000
    timeouts.check()


def test_client_that_goes_on_sending_gets_its_answer_and_is_cut(served: Served) -> None:
    """It can read why, for a moment; then the connection is reset, and what it sent is not read."""
    with served.wire() as wire:
        wire.send(b"POST /refuse" + HEAD + b"Content-Length: 100000000\r\n\r\n" + b"a" * 300_000)
        select.select([], [], [], 0.6 * LIMITS["linger_s"])  # what a client does that looks at the answer after sending
        assert wire.answer().status == 413
        assert served.count("connections") == 2, "not yet reset"
        served.until("connections", 1, 4 * LIMITS["linger_s"])
        with pytest.raises(ConnectionError):
            wire.send(b"a" * 10_000_000)


def test_application_that_stays_after_its_client_is_cancelled(served: Served) -> None:
    """Its `finally` runs, and the log has its path."""
    ended = served.count("ended")
    with served.wire() as wire:
        wire.send(b"GET /step?at=begin" + HEAD + b"\r\n")
        served.until("parked", 1)
    served.until("ended", ended + 1)
    assert served.logged("application.cancelled")[-1]["path"] == "/step"
