"""The receiving half of a request, for what the handler's tests do not reach."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streamsite.intake import BodyTooLarge, Intake
from tests.support.deadlines import bound


def _intake(*messages: dict[str, Any], max_bytes: int = 10, length: bytes | None = None) -> tuple[Intake, list[int]]:
    """An intake of these messages, and a list that grows by one with each that was received."""
    queue = list(messages)
    received: list[int] = []

    async def receive() -> dict[str, Any]:
        if not queue:
            await asyncio.Event().wait()
        received.append(1)
        return queue.pop(0)

    headers = [] if length is None else [(b"content-length", length)]
    return Intake(receive, max_bytes=max_bytes, headers=headers), received


async def test_nothing_is_received_before_the_body_is_wanted() -> None:
    """Receiving is what makes a server send 100 Continue."""
    intake, received = _intake({"type": "http.request", "body": b"a"})
    task = asyncio.create_task(intake.run(on_gone=lambda: None))
    await asyncio.sleep(0)
    assert received == []
    async with asyncio.timeout(bound(1)):
        assert await intake.body() == b"a"
    task.cancel()


async def test_body_of_exactly_the_limit_is_taken() -> None:
    """The limit is the longest body that is allowed."""
    intake, _ = _intake({"type": "http.request", "body": b"0123456789"}, length=b"10")
    task = asyncio.create_task(intake.run(on_gone=lambda: None))
    async with asyncio.timeout(bound(1)):
        assert await intake.body() == b"0123456789"
    task.cancel()


async def test_absurd_length_is_not_taken_for_a_number() -> None:
    """Thousands of digits are not converted; the server's own limits deal with such a request."""
    intake, _ = _intake({"type": "http.request", "body": b"a"}, length=b"9" * 5000)
    task = asyncio.create_task(intake.run(on_gone=lambda: None))
    async with asyncio.timeout(bound(1)):
        assert await intake.body() == b"a"
    task.cancel()


async def test_declared_length_over_limit_needs_no_receiver() -> None:
    """It is refused by the header alone."""
    intake, _ = _intake(length=b"11")
    with pytest.raises(BodyTooLarge, match="11 bytes, at most 10"):
        await intake.body()


async def test_client_gone_is_told_once_and_ends_the_task() -> None:
    """Nobody receives after http.disconnect."""
    intake, _ = _intake({"type": "http.request", "body": b"a"}, {"type": "http.disconnect"})
    told: list[None] = []
    task = asyncio.create_task(intake.run(on_gone=lambda: told.append(None)))
    async with asyncio.timeout(bound(1)):
        await intake.body()
        await task
    assert (told, intake.is_client_gone) == ([None], True)
