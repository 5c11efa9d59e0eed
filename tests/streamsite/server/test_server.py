"""The orderly end of a server; what the whole site does at its end is in tests/faults (FT15) and tests/streamsite/test_serve.py."""

from __future__ import annotations

import signal
import socket
from typing import Any

import pytest

from streamsite.server.transport import Port
from tests.streamsite.server.served import LOOPS, Served
from tests.support.deadlines import bound, eventually

pytestmark = pytest.mark.slow


def _answer_bytes(served: Served) -> int:
    """So large that the application is done with it while some of it still waits for a client that has taken nothing."""
    size = 100_000
    while True:
        with served.wire(receive_bytes=4096) as wire:
            wire.send(f"GET /large?bytes={size}&part={size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            served.get("/turn")
            state = served.state()
            if state.get("running", 0) > 1 or size > 50_000_000:
                return size - 30_000
        size += 30_000


@pytest.mark.parametrize("loop", LOOPS)
def test_end_of_an_answer_that_is_queued_is_sent_before_the_process_ends(loop: str) -> None:
    """The application is done, the client is slow: a part that looks broken off would be worse than a moment's wait."""
    with Served(loop) as served:
        size = _answer_bytes(served)
        with served.wire(receive_bytes=4096) as wire:
            wire.send(f"GET /large?bytes={size}&part={size} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            served.get("/turn")
            served.process.send_signal(signal.SIGTERM)
            eventually(lambda: _is_refused(served), 2, "it accepts no more")
            received = wire.rest()
        assert received.endswith(b"\r\n0\r\n\r\n")
        assert received.partition(b"\r\n\r\n")[2].count(b"x") == size
        assert served.process.wait(bound(5)) == 0


def _is_refused(served: Served) -> bool:
    try:
        socket.create_connection(served.address, timeout=bound(1)).close()
    except ConnectionRefusedError:
        return True
    return False


class _Listener:
    """Two clients, the first of which can't be had."""

    def __init__(self) -> None:
        self.pairs = [socket.socketpair() for _ in range(2)]
        self.accepted = 0

    def accept(self) -> tuple[socket.socket, tuple[str, int]]:
        if self.accepted == len(self.pairs):
            raise BlockingIOError
        self.accepted += 1
        return self.pairs[self.accepted - 1][0], ("127.0.0.1", 1)


class _Room:
    def has_room(self) -> bool:
        return True


def test_connection_that_can_not_be_had_leaves_the_port_open(caplog: pytest.LogCaptureFixture) -> None:
    """One client's trouble is logged and its socket closed; the next client is served."""
    begun: list[Any] = []

    class Begun:
        def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted names it
            begun.append(transport)
            if len(begun) == 1:
                raise MemoryError

    class Factory:
        def buildProtocol(self, _address: Any) -> Begun:  # noqa: N802 - Twisted names it
            return Begun()

    port: Any = Port.__new__(Port)
    port.socket = listener = _Listener()
    port.factory, port.room, port.sessionno = Factory(), _Room(), 0
    port.transport = lambda raw, *_: raw
    port.reactor = None
    port._buildAddr = lambda client: client
    port.doRead()
    assert len(begun) == 2
    assert [pair[0].fileno() >= 0 for pair in listener.pairs] == [False, True]
    assert "connection.failed" in caplog.text
    for pair in listener.pairs:
        for end in pair:
            end.close()
