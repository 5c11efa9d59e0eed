"""Producers of the load: idempotent, persistent, and honest about what they know."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter

from tests.faults.history import Append, History, Outcome, Report, Value
from tests.support.h1 import Connection, Response

__all__ = ["Producer", "append_headers"]

_RETRY_S = 0.1
_UNKNOWN = frozenset({"outcome-unknown", "unconfirmed", "internal"})
"""Problems after which the append may be in the log."""
_LARGE_BYTES = 20_000
"""More than travels in a push, so that followers must read the log."""


class Producer:
    """One request at a time, repeated with the same seq until its outcome is known.

    Args:
        site: host and port.
        path: of the stream.
        per_second: events.
        patience_s: how long it waits for an answer; longer than the site's own deadline.
        headers: further ones for each append.
    """

    def __init__(
        self,
        name: str,
        site: tuple[str, int],
        path: str,
        history: History,
        seed: int,
        *,
        per_second: float,
        patience_s: float,
        headers: dict[str, str],
    ) -> None:
        self.name = name
        self.is_stopping = False
        self.slowest_answer_s = 0.0
        self.answers: Counter[str] = Counter()
        """By status and problem, or the name of what went wrong."""
        self._site = site
        self._path = path
        self._history = history
        self._random = random.Random(seed)
        self._per_second = per_second
        self._patience_s = patience_s
        self._headers = headers
        self._connection: Connection | None = None
        self._epoch = 0
        self._seq = 0

    async def run(self) -> None:
        """Append until told to stop, and until the outcome of the last request is known then."""
        next_mono = time.monotonic()
        try:
            while not self.is_stopping:
                values = self._next_values()
                body = self._body(values)
                await self._settle(values, body)
                # What was missed during a fault is not made up for: the load is the same before and after.
                next_mono = max(next_mono + len(values) / self._per_second, time.monotonic() - 0.1)
                await asyncio.sleep(max(0.0, next_mono - time.monotonic()))
        finally:
            self._drop_connection()

    async def _settle(self, values: tuple[Value, ...], body: bytes) -> None:
        while not await self._is_settled(values, body):
            pause_s = _RETRY_S * (0.5 + self._random.random())
            await asyncio.sleep(pause_s)

    def _next_values(self) -> tuple[Value, ...]:
        count = self._random.choice((1, 1, 1, 2, 4))
        return tuple(f"{self.name}/{self._epoch}/{self._seq}/{number}" for number in range(count))

    def _body(self, values: tuple[Value, ...]) -> bytes:
        size = _LARGE_BYTES if self._random.random() < 0.01 else self._random.randrange(200)
        events = [{"v": value, "pad": "x" * (size // len(values))} for value in values]
        return json.dumps(events if len(events) > 1 else events[0]).encode()

    async def _is_settled(self, values: tuple[Value, ...], body: bytes) -> bool:
        """Try once.

        Returns: whether this request is over, for good or because the log has forgotten what came before it.
        """
        append = Append(self.name, self._epoch, self._seq, values, time.monotonic())
        self._history.appends.append(append)
        try:
            async with asyncio.timeout(self._patience_s):
                response, text = await self._post(body)
        except (OSError, TimeoutError) as error:
            self._drop_connection()
            append.returned_mono = time.monotonic()
            self.answers[type(error).__name__] += 1
            return False
        append.returned_mono = time.monotonic()
        self.slowest_answer_s = max(self.slowest_answer_s, append.returned_mono - append.invoked_mono)
        append.status = response.status
        if response.status in (200, 204):
            append.outcome = Outcome.OK
            append.offset = response.headers["stream-next-offset"]
            append.durability = response.headers.get("stream-durability", "")
            self.answers[str(response.status)] += 1
            self._seq += 1
            return True
        append.problem = str(json.loads(text)["type"]).rpartition("/")[2] if text.startswith(b"{") else ""
        append.outcome = Outcome.UNKNOWN if append.problem in _UNKNOWN or not append.problem else Outcome.FAIL
        self.answers[f"{response.status} {append.problem}"] += 1
        return await self._is_restarted(response, append)

    async def _is_restarted(self, response: Response, append: Append) -> bool:
        """Begin a new epoch if the log has forgotten this one, and the stream itself if it has forgotten that."""
        if response.status == 404:
            await self._create()
        expected = response.headers.get("producer-expected-seq")
        if append.problem != "producer-gap" or expected is None:
            return False
        self._history.reports.append(Report(self.name, "producer-gap", expected, "", time.monotonic()))
        self._epoch += 1
        self._seq = 0
        return True

    async def _post(self, body: bytes) -> tuple[Response, bytes]:
        if self._connection is None or not self._connection.is_reusable:
            self._drop_connection()
            self._connection = await Connection.open(*self._site)
        headers = append_headers(self.name, self._epoch, self._seq) | self._headers
        response = await self._connection.ask("POST", self._path, headers, body)
        return response, await self._connection.body()

    async def _create(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                if self._connection is not None and self._connection.is_reusable:
                    await self._connection.ask("PUT", self._path, {"Content-Type": "application/json"}, b"")
                    await self._connection.body()
        except (OSError, TimeoutError):
            self._drop_connection()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def append_headers(producer: str, epoch: int, seq: int) -> dict[str, str]:
    """What makes an append of JSON repeatable."""
    return {
        "Content-Type": "application/json",
        "Producer-Id": producer,
        "Producer-Epoch": str(epoch),
        "Producer-Seq": str(seq),
    }
