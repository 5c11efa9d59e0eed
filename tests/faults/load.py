"""The load of a fault test: producers and readers on one stream, and the verdict on what they saw.

    with Load(site.address, seed) as load:
        load.run_for(1.0)
        ... the fault ...
        load.wait_for_delivery(within_s=2)
        load.finish()
    assert load.check() == []

It runs in a thread with an event loop of its own. Everything random comes from the seed.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar

from tests.faults.checker import check
from tests.faults.history import ZERO, Event, History
from tests.faults.producers import Producer
from tests.faults.readers import FORMS, Reader
from tests.support.deadlines import bound
from tests.support.h1 import Connection

__all__ = ["Load"]

_T = TypeVar("_T")
_CALL_SLACK_S = 30.0
"""How much longer than its own bounds a call into the thread may take."""


class Load:
    """Producers and readers on one stream.

    Args:
        site: host and port.
        seed: of everything random.
        produce_at: another site on the same Redis, for the producers.
        stream: its name; created on entering.
        producers, per_second, readers: how many, and how many events a second each producer appends.
        heartbeat_s: what the site is set to.
        append_deadline_s: what the site is set to, if not to what `fault_site` sets.
        create_headers, append_headers: further ones.
    """

    def __init__(
        self,
        site: tuple[str, int],
        seed: int,
        *,
        produce_at: tuple[str, int] | None = None,
        stream: str = "faults/load",
        producers: int = 3,
        per_second: float = 200,
        readers: int = 50,
        heartbeat_s: float = 1.0,
        append_deadline_s: float | None = None,
        create_headers: Mapping[str, str] | None = None,
        append_headers: Mapping[str, str] | None = None,
    ) -> None:
        self.history = History()
        self.final: list[Event] = []
        self.path = f"/v1/stream/{stream}"
        self._site = site
        self._random = random.Random(seed)
        self._seed = seed
        self._create_headers = dict(create_headers or {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="load", daemon=True)
        self._tasks: list[asyncio.Task[None]] = []
        self._target = ""
        self.producers = [
            Producer(
                f"p{number}",
                produce_at or site,
                self.path,
                self.history,
                self._random.getrandbits(32),
                per_second=per_second,
                patience_s=(append_deadline_s or bound(2)) + bound(1),
                headers=dict(append_headers or {}),
            )
            for number in range(producers)
        ]
        self.readers: list[Reader] = [
            FORMS[number % len(FORMS)](
                f"r{number}", site, self.path, self.history, self._random.getrandbits(32), heartbeat_s
            )
            for number in range(readers)
        ]

    # Life

    def __enter__(self) -> Self:
        sys.stdout.write(f"load: seed {self._seed}\n")
        self._thread.start()
        try:
            self._call(self._begin())
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stop()
        if kind is not None:
            sys.stdout.write(f"--- load with seed {self._seed}\n{self.summary()}\n---\n")

    def run_for(self, seconds: float) -> None:
        """Let it run."""
        time.sleep(seconds)

    def wait_for_delivery(self, within_s: float) -> float:
        """Wait until something appended from now on is acknowledged and has reached every reader.

        Returns: the seconds it took.
        Raises: AssertionError: it did not, within the bound times the slack; names who is behind.
        """
        began_mono = time.monotonic()
        self._call(self._deliver(bound(within_s)), bound(within_s))
        return time.monotonic() - began_mono

    def finish(self, within_s: float = 5.0) -> None:
        """Stop the producers, let the readers come to the tail, and read the whole stream.

        Raises: AssertionError: somebody did not come to the end within the bound.
        """
        self._call(self._finish(bound(within_s)), bound(within_s) * 2)

    # What is there

    def check(self, *, may_lose_newest: bool = False) -> list[str]:
        """The verdict, after `finish`."""
        violations = check(self.history, self.final, may_lose_newest=may_lose_newest)
        if violations:
            sys.stdout.write(f"--- load with seed {self._seed}\n{self.summary()}\n---\n")
        return violations

    def appended(self, problem: str) -> int:
        """How many appends were answered with a problem of this kind."""
        return sum(append.problem == problem for append in self.history.appends)

    def statuses(self) -> set[int]:
        """Every status that an append or a read was answered with."""
        return {append.status for append in self.history.appends} | {
            status for reader in self.readers for status in reader.answers
        }

    def acknowledged_count(self) -> int:
        """How many events are acknowledged so far."""
        return len(self.history.acknowledged())

    def live_reconnects(self) -> int:
        """How often readers that hold a connection open had to make a new one."""
        return sum(reader.connects - 1 for reader in self.readers if reader.is_live)

    def longest_silence_s(self) -> float:
        """The longest time in which a live reader heard nothing, not even a heartbeat."""
        return max((reader.longest_silence_s for reader in self.readers if reader.is_live), default=0.0)

    def slowest_append_s(self) -> float:
        """The longest time that an append waited for its answer."""
        return max(producer.slowest_answer_s for producer in self.producers)

    def slowest_read_s(self) -> float:
        """The longest time that a catch-up read waited for its answer."""
        return max((reader.slowest_answer_s for reader in self.readers if reader.form == "catch-up"), default=0.0)

    def summary(self) -> str:
        """What everybody was answered, for the failure's text."""
        appends: Counter[str] = sum((producer.answers for producer in self.producers), Counter())
        lines = [f"appends: {dict(appends)}, slowest {self.slowest_append_s():.3f} s", f"log: {len(self.final)} events"]
        for form in FORMS:
            readers = [reader for reader in self.readers if reader.form == form.form]
            reads: Counter[int] = sum((reader.answers for reader in readers), Counter())
            connects = sum(reader.connects for reader in readers)
            silence_s = max((reader.longest_silence_s for reader in readers), default=0.0)
            lines.append(
                f"{form.form}: {len(readers)} readers, answers {dict(reads)}, {connects} connects, silence {silence_s:.3f} s, "
                f"at {min((reader.position for reader in readers), default='')}"
            )
        lines.append(f"reports: {dict(Counter(report.kind for report in self.history.reports))}")
        return "\n".join(lines)

    # On the loop

    async def _begin(self) -> None:
        connection = await Connection.open(*self._site)
        response = await connection.ask(
            "PUT", self.path, {"Content-Type": "application/json", **self._create_headers}, b""
        )
        text = await connection.body()
        connection.close()
        assert response.status in (200, 201), (response.status, text)
        self._tasks += [self._loop.create_task(producer.run(), name=producer.name) for producer in self.producers]
        self._tasks += [self._loop.create_task(reader.run(), name=reader.name) for reader in self.readers]

    async def _deliver(self, within_s: float) -> None:
        before = len(self.history.appends)
        async with _deadline(within_s, self._describe_laggards):
            self._target = ""
            while not self._target:
                await asyncio.sleep(0.01)
                self._raise_failures()
                self._target = next((append.offset for append in self.history.appends[before:] if append.offset), "")
            await asyncio.gather(*(reader.reached(self._target) for reader in self.readers))

    async def _finish(self, within_s: float) -> None:
        for producer in self.producers:
            producer.is_stopping = True
        producing = self._tasks[: len(self.producers)]
        async with _deadline(within_s, lambda: "a producer's last request is not settled"):
            await asyncio.gather(*producing)
        self.final = await self._read_all()
        self._target = self.final[-1].offset if self.final else ZERO
        async with _deadline(within_s, self._describe_laggards):
            await asyncio.gather(*(reader.reached(self._target) for reader in self.readers))
        self._raise_failures()
        await self._cancel()

    async def _read_all(self) -> list[Event]:
        events: list[Event] = []
        position = "-1"
        connection = await Connection.open(*self._site)
        while True:
            response = await connection.ask("GET", f"{self.path}?offset={position}", {"Accept": "application/x-ndjson"})
            body = await connection.body()
            assert response.status == 200, (response.status, body)
            for line in body.splitlines():
                event = json.loads(line)
                if "data" in event:
                    events.append(Event(event["offset"], event["data"]["v"]))
            position = response.headers["stream-next-offset"]
            if response.headers.get("stream-up-to-date") == "true":
                connection.close()
                return events

    def _describe_laggards(self) -> str:
        if not self._target:
            return "no append was acknowledged"
        behind = [f"{r.name} ({r.form}) at {r.position}" for r in self.readers if r.position < self._target]
        return f"{len(behind)} readers are behind {self._target}: {', '.join(behind[:5])}"

    def _raise_failures(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # From the caller's thread

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._call(self._cancel())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CALL_SLACK_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, _T], within_s: float = 0.0) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(within_s + _CALL_SLACK_S)


@asynccontextmanager
async def _deadline(within_s: float, describe: Callable[[], str]) -> AsyncIterator[None]:
    """Bound the block, and say who was late."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except TimeoutError:
        raise AssertionError(f"not within {within_s:g} s: {describe()}") from None
