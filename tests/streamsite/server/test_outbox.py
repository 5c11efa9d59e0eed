"""Where an answer's bytes go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from streamsite.server.outbox import Outbox
from streamsite.server.transport import Transport
from tests.support.deadlines import bound


class Plain(Transport):
    """Twisted's transport without its reactor: what Outbox sees of it."""

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self.connected = 1
        self.registered: Outbox | None = None
        self.is_aborted = False
        self.queued: list[bytes] = []
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataLen = 0

    def registerProducer(self, producer: Outbox, streaming: bool) -> None:  # noqa: N802 - Twisted names it
        assert self.registered is None, "registered twice"
        self.registered = producer

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted names it
        self.registered = None

    def write(self, data: bytes) -> None:
        assert self.registered is not None, "a transport asks its producer to pause only while it writes"
        self.queued.append(data)
        self._tempDataLen += len(data)
        if self._tempDataLen > 65536:
            self.registered.pauseProducing()

    def abortConnection(self) -> None:  # noqa: N802 - Twisted names it
        self.is_aborted = True


@contextmanager
def scene() -> Iterator[tuple[socket.socket, Plain, Outbox, list[None]]]:
    """A client's socket, the transport and its outbox, and how often something was queued."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            server.setblocking(False)
            client.settimeout(bound(1))
            queued: list[None] = []
            transport = Plain(server)
            outbox = Outbox(transport, lambda: queued.append(None))
            outbox._socket = server  # Plain is not exactly Transport
            yield client, transport, outbox, queued


async def test_bytes_go_straight_to_the_socket() -> None:
    """Nothing is queued, nobody is registered, no pass of the loop is waited for."""
    with scene() as (client, transport, outbox, queued):
        outbox.write(b"abc")
        assert client.recv(10) == b"abc"
        assert (transport.queued, transport.registered, queued) == ([], None, [])


async def test_order_is_kept_when_the_socket_is_full() -> None:
    """What it did not take is queued, and all that follows behind it."""
    with scene() as (_, transport, outbox, queued):
        sent = 0
        while not transport.queued:
            outbox.write(b"x" * 100_000)
            sent += 100_000
        assert queued
        assert outbox.has_queued
        outbox.write(b"last")
        assert transport.queued[-1] == b"last"


async def test_sender_waits_for_room_and_several_may() -> None:
    """Until the buffer is empty, or the connection gone."""
    with scene() as (_, _transport, outbox, _queued):
        await asyncio.wait_for(outbox.room(), bound(1))
        outbox.pauseProducing()
        waiting = [asyncio.ensure_future(outbox.room()) for _ in range(3)]
        given_up = waiting.pop()
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        outbox.resumeProducing()
        await asyncio.wait_for(asyncio.gather(*waiting), bound(1))
        outbox.pauseProducing()
        last = asyncio.ensure_future(outbox.room())
        await asyncio.sleep(0)
        outbox.stopProducing()
        await asyncio.wait_for(last, bound(1))


async def test_small_messages_of_one_turn_are_one_write() -> None:
    """In their order, before anything that is written at once, and at the latest when the loop has its turn."""
    with scene() as (client, _transport, outbox, _queued):
        outbox.write_soon(b"a")
        outbox.write_soon(b"b")
        outbox.write(b"c")
        assert client.recv(10) == b"abc"
        outbox.write_soon(b"d")
        await asyncio.sleep(0)
        assert client.recv(10) == b"d"
        outbox.write_soon(b"e" * 20_000)
        assert client.recv(100), "so much is not held back"


async def test_broken_socket_ends_the_connection() -> None:
    """Twisted would find out when it reads, but it may not be reading."""
    with scene() as (_client, transport, outbox, _queued):
        transport.socket.close()
        outbox.write(b"abc")
        assert transport.is_aborted
        assert outbox.is_reset()
        assert outbox.unacknowledged_bytes() == 0


async def test_reset_and_what_is_on_its_way_are_seen_from_the_kernel() -> None:
    """They can't be seen by writing or reading without doing so."""
    with scene() as (client, _transport, outbox, _queued):
        assert not outbox.is_reset()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while not outbox.has_queued:
            outbox.write(b"x" * 100_000)
        assert outbox.unacknowledged_bytes() > 0
        client.close()  # with unread bytes: a reset
        deadline = asyncio.get_running_loop().time() + bound(1)
        while not outbox.is_reset():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)


def test_only_the_plain_transport_is_written_to_past_twisted() -> None:
    """TLS has a `socket` attribute too, through its wrapper: bytes sent there would be plain text on the wire."""

    class Tls:
        def __init__(self, transport: Plain) -> None:
            self.transport = transport
            self.socket = transport.socket

    with scene() as (_, transport, _outbox, _queued):
        assert Outbox(Tls(transport), lambda: None)._socket is None
