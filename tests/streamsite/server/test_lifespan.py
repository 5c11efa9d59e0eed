"""ASGI lifespan, from the server's side."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from typing import Any

import pytest

from streamsite.server.lifespan import Lifespan, LifespanError
from streamsite.types import Receive, Scope, Send
from tests.support.deadlines import bound


async def test_application_is_started_and_stopped_once() -> None:
    """In one task: what it sets in its context, and the tasks that it makes, stay until the end."""
    seen: list[Any] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])
        seen.append((await receive())["type"])
        variable.set("set")
        await send({"type": "lifespan.startup.complete"})
        seen.append((await receive())["type"])
        seen.append(variable.get())
        await send({"type": "lifespan.shutdown.complete"})

    lifespan = Lifespan(application)
    await lifespan.start()
    assert seen == ["lifespan", "lifespan.startup"]
    await lifespan.stop()
    assert seen[2:] == ["lifespan.shutdown", "set"]
    await lifespan.stop()


async def test_application_that_can_not_start_stops_the_server() -> None:
    """With its own words."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no Redis"})

    lifespan = Lifespan(application)
    with pytest.raises(LifespanError, match="no Redis"):
        await lifespan.start()
    await lifespan.stop()


async def test_application_without_lifespan_is_served_all_the_same() -> None:
    """It says so by raising, or by returning."""

    async def raises(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("http only")

    async def returns(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    for application in (raises, returns):
        lifespan = Lifespan(application)
        await lifespan.start()
        await lifespan.stop()


async def test_failure_at_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The server ends anyway."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "lost something"})

    lifespan = Lifespan(application)
    await lifespan.start()
    with caplog.at_level(logging.ERROR, logger="streamsite.server"):
        await lifespan.stop()
    assert [record.message for record in caplog.records] == ["lifespan.shutdown_failed"]


async def test_end_that_takes_too_long_is_cancelled() -> None:
    """Whoever waits for the end has a bound; the application's `finally` runs within it."""
    ended = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    lifespan = Lifespan(application)
    await lifespan.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(lifespan.stop(), 0.05)
    await asyncio.wait_for(ended.wait(), bound(1))
