"""The orderly end, in the order that it promises; the whole process is in tests/streamsite/test_serve.py."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # another test may have chosen a reactor
    from streamsite.server import Server
from streamsite.server.request import Request
from streamsite.server.server import ANSWER_GRACE_S
from tests.support.deadlines import bound


def _protocol(*, is_started: bool) -> Request:
    protocol = Request.__new__(Request)  # without its channel
    protocol._response_started = is_started
    return protocol


def _server(stop_runtime: Callable[[], Awaitable[None]], **tasks: asyncio.Task[Any]) -> Server:
    """A server that runs these applications; those whose name begins with `live` have begun to answer."""
    server = Server(None, host="::1", port=0, on_ready=lambda _: None, stop_runtime=stop_runtime)
    server.connections = {
        _protocol(is_started=name.startswith("live")): {"application_instance": task} for name, task in tasks.items()
    }
    return server


async def test_short_answers_end_before_the_runtime_and_live_ones_after() -> None:
    """An append under way is answered while the runtime still runs; a live reader is ended by the runtime's end."""
    order: list[str] = []
    runtime_ended = asyncio.Event()

    async def append() -> None:
        await asyncio.sleep(0)
        order.append("append")

    async def live() -> None:
        await runtime_ended.wait()
        order.append("live")

    async def stop_runtime() -> None:
        order.append("runtime")
        runtime_ended.set()

    server = _server(stop_runtime, append=asyncio.create_task(append()), live=asyncio.create_task(live()))
    async with asyncio.timeout(bound(2)):
        await server._drain()
    assert order == ["append", "runtime", "live"]


async def test_what_does_not_end_is_cancelled_and_its_finally_runs() -> None:
    """D5: stock daphne stops the loop under it."""
    ended: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("finally")

    async def stop_runtime() -> None:
        return

    server = _server(stop_runtime, live=asyncio.create_task(stubborn()))
    await asyncio.sleep(0)
    server._hurry.set()
    async with asyncio.timeout(ANSWER_GRACE_S * bound(1)):
        await server._drain()
    assert ended == ["finally"]


async def test_request_that_has_no_application_yet_does_not_disturb_the_end() -> None:
    """D6: stock daphne fails on a request of which only a part has arrived."""

    async def stop_runtime() -> None:
        return

    server = _server(stop_runtime)
    server.connections = {_protocol(is_started=False): {"connected": 0.0}}
    async with asyncio.timeout(bound(2)):
        await server._drain()


async def test_runtime_that_fails_to_stop_does_not_keep_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the end goes on."""

    async def stop_runtime() -> None:
        raise RuntimeError("broken")

    async with asyncio.timeout(bound(2)):
        await _server(stop_runtime)._drain()
    assert "server.runtime_failed_to_stop" in caplog.text


async def test_ipv6_address_survives_the_endpoint_string() -> None:
    """The colon separates an endpoint's parts."""

    async def stop_runtime() -> None:
        return

    assert _server(stop_runtime).endpoints == [r"tcp:port=0:interface=\:\:1"]
