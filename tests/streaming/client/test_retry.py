"""How long is waited, and when no more."""

from __future__ import annotations

import asyncio

import pytest

from streaming.client import Backoff, ClientError, GaveUp, NotSent, ProblemAnswer, until_answered


class Waits:
    """A listener that keeps the waits."""

    def __init__(self) -> None:
        self.seen_s: list[float] = []
        self.recoveries = 0

    def waiting(self, error: ClientError, attempt: int, wait_s: float) -> None:
        self.seen_s.append(wait_s)

    def recovered(self) -> None:
        self.recoveries += 1

    def notice(self, text: str) -> None:
        raise AssertionError(text)


async def test_waits_double_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without jitter the waits would be 0.1, 0.2, 0.4 … 3 seconds."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: real(0))
    waits = Waits()
    backoff = Backoff(listener=waits, draw=lambda: 1.0)
    for _ in range(8):
        await backoff.wait(NotSent("away"))
    assert waits.seen_s == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.0, 3.0, 3.0])


async def test_reset_begins_anew_and_says_so_once() -> None:
    """After an answer the next wait is short again; an answer without a failure before it is no news."""
    waits = Waits()
    backoff = Backoff(listener=waits, draw=lambda: 0.0)
    backoff.reset()
    await backoff.wait(NotSent("away"))
    backoff.reset()
    assert waits.recoveries == 1


async def test_error_that_retries_cannot_help_is_raised_as_it_is() -> None:
    """A refusal is not waited for."""
    with pytest.raises(ProblemAnswer):
        await Backoff().wait(ProblemAnswer(400, "bad-json", "no"))


async def test_retry_after_behind_the_deadline_gives_up_at_once() -> None:
    """A wait that would pass the deadline is not begun."""
    error = ProblemAnswer(503, "store-unavailable", "away", headers={"retry-after": "60"})
    with pytest.raises(GaveUp) as caught:
        await Backoff(1.0).wait(error)
    assert caught.value.__cause__ is error


async def test_until_answered_repeats_until_the_answer() -> None:
    """The call is repeated as long as it may help."""
    outcomes = iter([NotSent("away"), NotSent("away"), None])

    async def call() -> str:
        if (error := next(outcomes)) is not None:
            raise error
        return "done"

    assert await until_answered(call, Backoff(draw=lambda: 0.0)) == "done"
