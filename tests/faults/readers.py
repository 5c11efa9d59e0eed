"""Readers of the load: one class for each form in which a stream can be read, all resuming by themselves."""

from __future__ import annotations

import asyncio
import json
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tests.faults.history import ZERO, Batch, History, Report, Tail, Value
from tests.support.deadlines import bound
from tests.support.h1 import Connection, Response

__all__ = ["FORMS", "Reader"]

_POLL_S = 0.1
_BACKOFF_S = 0.05
_LOSS = frozenset({"stream-rewound", "offset-gone", "stream-gone"})
"""Problems that tell a reader to go on from elsewhere."""


class Reader(ABC):
    """One reader.

    Args:
        site: host and port.
        path: of the stream.
        heartbeat_s: what the site promises; silence of several times that is taken for a dead connection.
    """

    form: ClassVar[str]
    is_live: ClassVar[bool] = True
    """Whether it holds one connection open."""

    def __init__(
        self, name: str, site: tuple[str, int], path: str, history: History, seed: int, heartbeat_s: float
    ) -> None:
        self.name = name
        self.position = ZERO
        self.connects = 0
        self.longest_silence_s = 0.0
        self.answers: Counter[int] = Counter()
        self.slowest_answer_s = 0.0
        self._site = site
        self._path = path
        self._history = history
        self._random = random.Random(seed)
        self._patience_s = bound(heartbeat_s) + heartbeat_s
        self._moved = asyncio.Condition()

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            connection = None
            try:
                async with asyncio.timeout(bound(2)):
                    connection = await Connection.open(*self._site)
                self.connects += 1
                await self._read(connection)
            except (OSError, TimeoutError, ValueError) as error:
                if isinstance(error, ValueError):
                    raise
            finally:
                if connection is not None:
                    connection.close()
            await asyncio.sleep(_BACKOFF_S * (1 + self._random.random()))

    async def reached(self, offset: str) -> None:
        """Wait until the position is there or beyond."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.position >= offset)

    # For the forms

    @abstractmethod
    async def _read(self, connection: Connection) -> None:
        """Read on this connection as long as it is good."""

    async def _get(self, connection: Connection, query: str = "", headers: Mapping[str, str] | None = None) -> Response:
        """One GET from the position; refusals are dealt with before it returns."""
        began_mono = time.monotonic()
        async with asyncio.timeout(self._patience_s):
            response = await connection.ask("GET", f"{self._path}?offset={self.position}{query}", headers)
        self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - began_mono)
        self.answers[response.status] += 1
        if response.status >= 400:
            async with asyncio.timeout(self._patience_s):
                text = await connection.body()
            if response.headers.get("content-type", "").startswith("application/problem+json"):
                self._heed(json.loads(text))
            await asyncio.sleep(_POLL_S)
        return response

    async def _lines(self, connection: Connection, separator: bytes) -> Any:
        """The parts of a live body; noticing how long nothing came."""
        buffer = b""
        chunks = connection.chunks()
        heard_mono = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self._patience_s):
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            now_mono = time.monotonic()
            self.longest_silence_s = max(self.longest_silence_s, now_mono - heard_mono)
            heard_mono = now_mono
            *parts, buffer = (buffer + chunk).split(separator)
            if parts:
                yield parts

    async def _show(self, upto: str, values: Sequence[Value], offsets: Sequence[str] = ()) -> None:
        """Note what came, and move on."""
        self._history.batches.append(
            Batch(self.name, self.form, self.position, upto, tuple(values), tuple(offsets), time.monotonic())
        )
        await self._move(upto)

    async def _move(self, position: str) -> None:
        async with self._moved:
            self.position = position
            self._moved.notify_all()

    def _heed(self, problem: Mapping[str, Any]) -> bool:
        """Note a report of loss and go where it says.

        Returns: whether the reader has to ask again.
        """
        slug = str(problem["type"]).rpartition("/")[2]
        if slug not in _LOSS:
            return False
        # The tail may already hold new events, so the only place that misses nothing is the earliest.
        resumed = str(problem.get("earliest_offset") or ZERO)
        self._history.reports.append(Report(self.name, slug, self.position, resumed, time.monotonic()))
        self.position = resumed
        return True


class EventSourceReader(Reader):
    """As a browser's EventSource: one message an event, resumes by Last-Event-ID."""

    form = "sse"

    async def _read(self, connection: Connection) -> None:
        headers = {"Accept": "text/event-stream"}
        if self.position != ZERO:
            headers["Last-Event-ID"] = self.position
        response = await self._get(connection, headers=headers)
        if response.status != 200:
            return
        async for frames in self._lines(connection, b"\n\n"):
            events = [fields for fields in map(_fields, frames) if "data" in fields]
            problem = next((event for event in events if event.get("event") == "stream-rewound"), None)
            plain = [event for event in events if "event" not in event]
            if plain:
                offsets = [event["id"] for event in plain]
                await self._show(offsets[-1], [json.loads(event["data"])["v"] for event in plain], offsets)
            if problem is not None:
                self._heed(json.loads(problem["data"]))
                return


class ProtocolSseReader(Reader):
    """The protocol's own SSE: data events, then a control event with the offset."""

    form = "live=sse"

    async def _read(self, connection: Connection) -> None:
        response = await self._get(connection, "&live=sse")
        if response.status != 200:
            return
        values: list[Value] = []
        async for frames in self._lines(connection, b"\n\n"):
            for fields in map(_fields, frames):
                kind = fields.get("event")
                if kind == "data":
                    found = json.loads(fields["data"])
                    values += [item["v"] for item in (found if isinstance(found, list) else [found])]
                elif kind == "control":
                    await self._show(json.loads(fields["data"])["streamNextOffset"], values)
                    values = []
                elif kind == "stream-rewound":
                    self._heed(json.loads(fields["data"]))
                    return


class NdjsonReader(Reader):
    """Live NDJSON: a line an event."""

    form = "ndjson"

    async def _read(self, connection: Connection) -> None:
        response = await self._get(connection, "&live=ndjson")
        if response.status != 200:
            return
        async for lines in self._lines(connection, b"\n"):
            found = [json.loads(line) for line in lines if line.strip()]
            events = [line for line in found if "data" in line]
            if events:
                offsets = [event["offset"] for event in events]
                await self._show(offsets[-1], [event["data"]["v"] for event in events], offsets)
            for line in found:
                if "error" in line and self._heed(line["error"]):
                    return


class LongPollReader(Reader):
    """A request for each piece; waits at the tail."""

    form = "long-poll"
    is_live = False

    async def _read(self, connection: Connection) -> None:
        cursor = ""
        while connection.is_reusable:
            response = await self._get(connection, f"&live=long-poll{cursor}")
            if response.status >= 400:
                continue
            body = await connection.body()
            if "stream-cursor" in response.headers:
                cursor = f"&cursor={response.headers['stream-cursor']}"
            values = [item["v"] for item in json.loads(body)] if body else []
            await self._show(response.headers["stream-next-offset"], values)


class PollingReader(Reader):
    """Catch-up reads, ten a second; notes when it has seen the tail."""

    form = "catch-up"
    is_live = False

    async def _read(self, connection: Connection) -> None:
        while connection.is_reusable:
            invoked_mono = time.monotonic()
            response = await self._get(connection)
            if response.status >= 400:
                continue
            body = await connection.body()
            values = [item["v"] for item in json.loads(body)] if body else []
            upto = response.headers["stream-next-offset"]
            await self._show(upto, values)
            if response.headers.get("stream-up-to-date") == "true":
                self._history.tails.append(Tail(self.name, upto, invoked_mono, time.monotonic()))
                await asyncio.sleep(_POLL_S * (0.5 + self._random.random()))


FORMS: tuple[type[Reader], ...] = (EventSourceReader, ProtocolSseReader, NdjsonReader, LongPollReader, PollingReader)
"""Every form that a load spreads its readers over."""


def _fields(frame: bytes) -> dict[str, str]:
    """The fields of one SSE message; data lines joined."""
    fields: dict[str, str] = {}
    for line in frame.decode().split("\n"):
        name, _, value = line.partition(":")
        if name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    return fields
