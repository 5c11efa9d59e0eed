"""What the tests of log and feed share: a log on a server, and appends and reads in one word."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from streaming import failpoints
from streaming.durability import WRITTEN, Durability
from streaming.errors import ProblemError
from streaming.events import Event, NewEvent
from streaming.keys import StreamKeys
from streaming.log.log import Log
from streaming.log.outcome import Appended, AppendRequest, CreateRequest, Producer
from streaming.retention import KEEP_ALL, Retention
from streaming.store import Store
from tests.support.deadlines import bound

__all__ = [
    "MIB",
    "append",
    "create",
    "open_log",
    "raw",
    "read_all",
    "refusal",
    "request",
    "shift_redis_time",
    "texts",
]

MIB = 1024 * 1024


@asynccontextmanager
async def open_log(url: str, durability: Durability = WRITTEN, *, timeout_s: float | None = None) -> AsyncIterator[Log]:
    """A log on a server; closed afterwards, with nothing left behind."""
    store = Store(url)
    deadline_s = timeout_s or bound(2.0)
    await store.open(bound(2.0))
    log = Log(store, durability, deadline_s, deadline_s)
    try:
        yield log
    finally:
        await log.close()
        await store.close()


def request(*data: bytes, close: bool = False, **more: Any) -> AppendRequest:
    """An append of text events; `producer` may be a tuple of id, epoch and seq."""
    producer = more.pop("producer", None)
    return AppendRequest(
        [NewEvent(part) for part in data],
        more.pop("media", "text/plain"),
        close,
        Producer(*producer) if producer else None,
        **more,
    )


async def create(log: Log, name: str, **more: Any) -> str:
    """Create a text stream; its tail offset."""
    retention = more.pop("retention", KEEP_ALL)
    if isinstance(retention, str):
        retention = Retention.parse(retention)
    asked = CreateRequest(**{"content_type": "text/plain", "retention": retention, **more})
    return (await log.create(name, asked)).tail_offset


async def append(log: Log, name: str, *data: bytes, durability: str = "", **more: Any) -> Appended:
    """Append text events in one request."""
    return await log.append(name, request(*data, **more), durability=durability)


async def read_all(log: Log, name: str, offset: str = "-1", page_bytes: int = MIB) -> list[Event]:
    """Every event after an offset, page by page, each page checked to go on where the last one ended."""
    events: list[Event] = []
    while True:
        page = await log.read(name, offset, page_bytes)
        assert all(a.offset < b.offset for a, b in zip(page.events, page.events[1:], strict=False))
        events += page.events
        offset = page.next_offset
        if page.is_up_to_date:
            return events
        assert page.events, "a page that is not the last holds something"


def texts(events: list[Event]) -> list[str]:
    """The data of events, to compare."""
    return [event.data.decode() for event in events]


async def refusal(awaitable: Any) -> ProblemError:
    """The error that something ends with."""
    with pytest.raises(ProblemError) as caught:
        await awaitable
    return caught.value


async def raw(log: Log, name: str, *command: Any) -> Any:
    """A raw command on the server that holds a stream."""
    shard = log.store.shard(StreamKeys.of(name).bucket)
    async with shard.connection(bound(2.0), "test") as connection:
        return await connection.call(*command)


def shift_redis_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that moves the time that scripts take from Redis, by so many milliseconds in all."""

    def shift(milliseconds: int) -> None:
        monkeypatch.setattr(failpoints, "_armed", failpoints._parse(f"redis_time_shift_ms={milliseconds}"))

    return shift
