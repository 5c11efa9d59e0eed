"""The receiving half of a request, for what the handler's tests do not reach."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamsite.intake import BodyTooLarge, Intake
from streamsite.types import ON_LEAVE
from tests.support.deadlines import bound


class Request:
    """An intake of these messages, and what it did: how often it received, how often it told that the client is gone."""

    def __init__(
        self, *messages: dict[str, Any], length: bytes | None = None, extensions: dict[str, Any] | None = None
    ) -> None:
        self.messages = list(messages)
        self.received = 0
        self.told = 0
        headers = [] if length is None else [(b"content-length", length)]
        scope = {"type": "http", "headers": headers, "extensions": extensions or {}}
        self.intake = Intake(scope, self._receive, max_bytes=10, on_gone=self._on_gone)

    async def body(self) -> bytes:
        async with asyncio.timeout(bound(1)):
            return await self.intake.body()

    async def _receive(self) -> dict[str, Any]:
        if not self.messages:
            await asyncio.Event().wait()
        self.received += 1
        return self.messages.pop(0)

    def _on_gone(self) -> None:
        self.told += 1


async def test_nothing_is_received_before_the_body_is_wanted() -> None:
    """Receiving is what makes a server send 100 Continue."""
    request = Request({"type": "http.request", "body": b"a"})
    await asyncio.sleep(0)
    assert request.received == 0
    assert await request.body() == b"a"
    request.intake.close()


async def test_body_of_exactly_the_limit_is_taken() -> None:
    """The limit is the longest body that is allowed."""
    request = Request({"type": "http.request", "body": b"0123456789"}, length=b"10")
    assert await request.body() == b"0123456789"
    request.intake.close()


async def test_absurd_length_is_not_taken_for_a_number() -> None:
    """Thousands of digits are not converted; the server's own limits deal with such a request."""
    request = Request({"type": "http.request", "body": b"a"}, length=b"9" * 5000)
    assert await request.body() == b"a"
    request.intake.close()


async def test_declared_length_over_limit_is_refused_without_receiving() -> None:
    """It is refused by the header alone."""
    request = Request(length=b"11")
    with pytest.raises(BodyTooLarge, match="11 bytes, at most 10"):
        await request.body()
    assert request.received == 0


async def test_client_gone_is_told_once_and_ends_the_task() -> None:
    """Nobody receives after http.disconnect."""
    before = asyncio.all_tasks()
    request = Request({"type": "http.request", "body": b"a"}, {"type": "http.disconnect"}, {"type": "http.disconnect"})
    await request.body()
    async with asyncio.timeout(bound(1)):
        await asyncio.gather(*(asyncio.all_tasks() - before))
    assert (request.received, request.told, request.intake.is_client_gone) == (2, 1, True)


async def test_server_that_tells_of_the_end_needs_no_task() -> None:
    """Our own server calls back, and nothing is received beyond the body."""
    callbacks: list[Callable[[], object]] = []
    request = Request({"type": "http.request", "body": b"a"}, extensions={ON_LEAVE: callbacks.append})
    before = asyncio.all_tasks()
    await request.body()
    assert (asyncio.all_tasks(), request.received, request.told) == (before, 1, 0)
    callbacks[0]()
    assert (request.told, request.intake.is_client_gone) == (1, True)
