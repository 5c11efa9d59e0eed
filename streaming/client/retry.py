"""How long to wait before a request is sent again, and when to stop trying.

Full jitter: each wait is drawn from zero to a bound that doubles, so that the clients of a site that comes back do not
come back in step (the hostile case is ten thousand of them). A Retry-After is obeyed whole, with jitter on top.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from .errors import ClientError, GaveUp

__all__ = ["Backoff", "Listener", "Quiet", "until_answered"]

T = TypeVar("T")

_FIRST_BOUND_S = 0.1
_LAST_BOUND_S = 3.0
"""A site restarts in about two seconds; whoever pipes live data into it should not wait much longer than that."""


class Listener(Protocol):
    """Told about what the caller of a retrying client cannot see. Called on the event loop; must not block."""

    def waiting(self, error: ClientError, attempt: int, wait_s: float) -> None:
        """A request failed and is sent again after `wait_s`; `attempt` counts from 1."""

    def recovered(self) -> None:
        """A request got its answer after at least one call of `waiting`."""

    def notice(self, text: str) -> None:
        """Something happened that a person should know, though the work goes on."""


class Quiet:
    """A listener that says nothing."""

    def waiting(self, error: ClientError, attempt: int, wait_s: float) -> None:
        """Say nothing."""

    def recovered(self) -> None:
        """Say nothing."""

    def notice(self, text: str) -> None:
        """Say nothing."""


class Backoff:
    """The waits of one request.

    Args:
        timeout_s: counted from the first failure; None waits for ever.
        listener: told before each wait, and when it is over for good.
        draw: a number from 0 to 1; an argument for the tests' sake.
    """

    def __init__(
        self,
        timeout_s: float | None = None,
        listener: Listener | None = None,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._timeout_s = timeout_s
        self._listener = listener or Quiet()
        self._draw = draw
        self._attempt = 0
        self._deadline_mono: float | None = None

    async def wait(self, error: ClientError) -> None:
        """Sleep before the next attempt.

        Raises:
            ClientError: `error` itself, when sending again can't help.
            GaveUp: the deadline would pass; caused by `error`.
        """
        if not error.is_retryable:
            raise error
        now_mono = time.monotonic()
        if self._deadline_mono is None and self._timeout_s is not None:
            self._deadline_mono = now_mono + self._timeout_s
        wait_s = self._draw() * min(_LAST_BOUND_S, _FIRST_BOUND_S * 2 ** min(self._attempt, 16)) + (
            error.retry_after_s or 0.0
        )
        if self._deadline_mono is not None and now_mono + wait_s > self._deadline_mono:
            raise GaveUp(f"gave up after {self._timeout_s:g} s: {error}") from error
        self._attempt += 1
        self._listener.waiting(error, self._attempt, wait_s)
        await asyncio.sleep(wait_s)

    def reset(self) -> None:
        """An answer came: the next failure starts with a short wait and its own deadline."""
        if self._attempt:
            self._listener.recovered()
        self._attempt = 0
        self._deadline_mono = None


async def until_answered(call: Callable[[], Awaitable[T]], backoff: Backoff) -> T:
    """Call until it returns; only for requests that may be carried out twice.

    Raises: ClientError: one that sending again can't help, or `GaveUp`.
    """
    while True:
        try:
            result = await call()
        except ClientError as error:
            await backoff.wait(error)
        else:
            backoff.reset()
            return result
