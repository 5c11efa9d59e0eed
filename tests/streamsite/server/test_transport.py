"""Sockets, as the loop and Twisted see them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streamsite.server.served import LOOPS, Served

GET = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module", params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The probe on each loop."""
    with Served(request.param) as running:
        yield running


def test_descriptor_that_is_used_again_is_heard(served: Served) -> None:
    """A reader that is not taken off with its socket makes the next one with that number deaf, and uvloop abort."""
    for number in range(200):
        with served.wire() as wire:
            wire.send(GET[: number % len(GET)])
            if number % 2:
                wire.reset()
        with served.wire() as wire:
            wire.send(GET)
            assert wire.answer().status == 200
    assert served.process.poll() is None


def test_request_and_end_together_are_both_seen(served: Served) -> None:
    """The end is not taken for the request's, nor lost behind it."""
    for _ in range(20):
        with served.wire() as wire:
            wire.send(GET)
    served.until("connections", 1)
    assert not served.logged("connection.failed")


def test_small_writes_are_not_delayed(served: Served) -> None:
    """TCP_NODELAY: without it each part would wait for the acknowledgement of the one before."""
    with served.wire() as wire:
        for _ in range(50):
            wire.send(b"GET /large?bytes=20&part=10 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert len(wire.answer().body) == 20
