"""The one task that looks at all connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from streamsite.server import watch
from tests.support.deadlines import bound


class Connection:
    """What the watch sees of one."""

    def __init__(self, raw: socket.socket | None = None, check: Callable[[float], None] | None = None) -> None:
        self.check_mono = 0.0
        self.checked = asyncio.Event()
        self.aborted = asyncio.Event()
        self.outbox = self
        self.socket = raw
        self._check = check

    def check(self, now_mono: float) -> None:
        self.check_mono = float("inf")
        self.checked.set()
        if self._check is not None:
            self._check(now_mono)

    def abort(self) -> None:
        self.aborted.set()


class Exchange:
    """What the watch sees of one whose client has left."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.is_gone = True
        self.left_mono = 0.0
        self.task = task
        self.head = type("Head", (), {"path": "/left"})


@asynccontextmanager
async def watching(connections: list[Any], exchanges: list[Any]) -> Any:
    """A watch at work."""
    looking = watch.Watch(lambda: connections, lambda: exchanges, leave_s=0.1)
    task = asyncio.create_task(looking.run())
    try:
        yield looking
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def within(event: asyncio.Event) -> None:
    """Wait for it."""
    await asyncio.wait_for(event.wait(), bound(1))


@contextmanager
def socket_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often than in earnest."""
    monkeypatch.setattr(watch, "PERIOD_S", 0.02)


async def test_connection_is_checked_when_its_time_has_come() -> None:
    """And not before, nor again until it says so."""
    due, later = Connection(), Connection()
    later.check_mono = float("inf")
    async with watching([later, due], []):
        await within(due.checked)
        assert not later.checked.is_set()


async def test_fault_in_one_connection_leaves_the_others_their_limits(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged and ended; the watch goes on."""

    def fails(_: float) -> None:
        raise RuntimeError("ours")

    broken, whole = Connection(check=fails), Connection()
    with caplog.at_level(logging.ERROR, logger="streamsite.server"):
        async with watching([broken, whole], []):
            await within(whole.checked)
            await within(broken.aborted)
    assert "watch.failed" in caplog.text


async def test_held_connection_whose_client_has_left_is_ended() -> None:
    """Nothing is read from it, so that its end has to be asked for."""
    with socket_pair() as (client, server):
        held, present = Connection(server), Connection(server)
        held.check_mono = present.check_mono = float("inf")
        async with watching([held], []) as looking:
            looking.look_after(held)
            looking.look_after(present)
            looking.forget(present)
            client.sendall(b"something before the end")
            await asyncio.sleep(0)
            assert not held.aborted.is_set()
            client.close()
            await within(held.aborted)
            assert not present.aborted.is_set(), "it is read from again"


async def test_application_that_stays_is_cancelled_once() -> None:
    """Its client left longer ago than it may go on."""
    cancels = 0
    ended = asyncio.Event()

    async def stay() -> None:
        nonlocal cancels
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancels += 1
            await asyncio.sleep(5 * watch.PERIOD_S)  # some more passes
            ended.set()

    task = asyncio.create_task(stay())
    async with watching([], [Exchange(task)]):
        await within(ended)
    assert cancels == 1
    await task
