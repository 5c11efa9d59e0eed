"""A small ASGI application that tells what reached it, and does on purpose what an application may do by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import generate_latest

from streamsite.types import Message, Receive, Scope, Send

__all__ = ["Probe", "open_descriptors", "resident_bytes"]

_TEXT = [(b"content-type", b"text/plain")]
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_logger = logging.getLogger("tests.probe")
Route = Callable[[Scope, Receive, Send], Awaitable[None]]


def resident_bytes(pid: int | str = "self") -> int:
    """How much memory a process has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def open_descriptors(pid: int | str = "self") -> int:
    """How many files and sockets a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


class Probe:
    """The application.

    Args:
        facts: what the server knows, for `/state`.
    """

    def __init__(self, facts: Callable[[], dict[str, Any]] = dict) -> None:
        self.facts = facts
        self.ran: deque[str] = deque(maxlen=1000)
        """The raw paths of the last requests that got as far as here."""
        self.counts: Counter[str] = Counter()
        """What routes note: how far they came, and how they ended."""
        self._gate = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; any path that is not a route is answered with its name."""
        if scope["type"] == "lifespan":
            await self._live_through(receive, send)
            return
        if scope["type"] == "websocket":
            await self._converse(scope, receive, send)
            return
        raw = scope["raw_path"].decode("latin-1")
        self.ran.append(raw)
        route: Route = getattr(self, "_on_" + raw.strip("/").replace("-", "_"), self._on_any)
        self.counts["running"] += 1
        try:
            await route(scope, receive, send)
        finally:
            self.counts["running"] -= 1

    # What is there

    async def _on_any(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, scope["raw_path"])

    async def _on_ran(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, json.dumps(list(self.ran)).encode())

    async def _on_state(self, scope: Scope, receive: Receive, send: Send) -> None:
        gc.collect()
        state = {
            **self.counts,
            **self.facts(),
            "rss": resident_bytes(),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": open_descriptors(),
            "cpu_s": time.process_time(),
        }
        await _answer(send, json.dumps(state).encode())

    async def _on_metrics(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, generate_latest())

    async def _on_open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let those go on that wait in `/closed`."""
        self._gate.set()
        await _answer(send, b"open")

    # What came

    async def _on_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The request, whole."""
        body, parts = b"", 0
        async for part in _body(receive):
            body += part
            parts += 1
        seen = {name: value for name, value in scope.items() if name not in {"asgi", "headers", "extensions"}}
        seen |= {
            "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
            "parts": parts,
        }
        await _answer(send, json.dumps(seen, default=lambda value: value.decode("latin-1")).encode())

    async def _on_size(self, scope: Scope, receive: Receive, send: Send) -> None:
        """How many bytes the body has."""
        size = 0
        async for part in _body(receive):
            size += len(part)
        await _answer(send, b"%d" % size)

    # Bodies that nobody takes

    async def _on_closed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive nothing until `/open`."""
        self.counts["closed"] += 1
        await self._gate.wait()
        await _answer(send, b"at last")

    async def _on_refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer without a look at the body."""
        await _answer(send, b"no", status=413, fields=[(b"Connection", b"close")])

    async def _on_refuse_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same with an answer that a slow client takes a while for."""
        await _answer(send, b"x" * 16_000_000, status=413)

    async def _on_one_part(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one part of the body, then wait for the end."""
        await receive()
        self.counts["one_part"] += 1
        await self._gate.wait()
        await self._until_left(receive)

    # Answers

    async def _on_live(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One part, then nothing until the client leaves."""
        await _begin(send, b"first")
        self.counts["live"] += 1
        try:
            await self._until_left(receive)
        finally:
            self.counts["live"] -= 1

    async def _on_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`bytes` in parts of `part`; `produced` counts those that were taken."""
        query = _query(scope)
        total, size = int(query["bytes"]), int(query.get("part", "65536"))
        fields = [(b"content-length", b"%d" % total)] if "known" in query else []
        await send({"type": "http.response.start", "status": 200, "headers": [*_TEXT, *fields]})
        part = b"x" * size
        try:
            for left in range(total, 0, -size):
                await send({"type": "http.response.body", "body": part[:left], "more_body": True})
                self.counts["produced"] += min(left, size)
        except OSError:
            self.counts["client_left"] += 1
            raise
        await send({"type": "http.response.body", "body": b""})

    async def _on_step(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stop at one of the places where an application waits; `ended` counts the `finally` blocks."""
        place = _query(scope)["at"]
        try:
            if place == "begin":
                await self._park(place)
            if place == "receive":
                self.counts["parked"] += 1
                await self._until_left(receive)
                return
            await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
            if place == "start":
                await self._park(place)
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            if place == "between":
                await self._park(place)
            if place == "live":
                self.counts["parked"] += 1
                await self._until_left(receive)
                return
            self.counts["parked"] += 1
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        finally:
            await asyncio.sleep(0)  # clean-up may wait
            self.counts["parked"] -= 1
            self.counts["ended"] += 1

    async def _on_informed(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A hint before the answer, trailers in two messages behind it."""
        await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
        fields = [*_TEXT, (b"trailer", b"x-sum, x-more")]
        await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
        await send({"type": "http.response.body", "body": b"summed"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"6")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-more", b"7")]})

    async def _on_together(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One large part, and small ones from another task meanwhile."""
        await _begin(send, b"<")

        async def interrupt() -> None:
            for _ in range(20):
                await send({"type": "http.response.body", "body": b"-", "more_body": True})
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            group.create_task(send({"type": "http.response.body", "body": b"x" * 5_000_000, "more_body": True}))  # type: ignore[arg-type]
            group.create_task(interrupt())
        await send({"type": "http.response.body", "body": b">"})

    async def _on_impatient(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Give a large part up in the middle, and go on as if it had been sent."""
        await _begin(send, b"<")
        try:
            await asyncio.wait_for(
                send({"type": "http.response.body", "body": b"x" * 50_000_000, "more_body": True}), 0.2
            )
        except TimeoutError:
            self.counts["impatient"] += 1
            await send({"type": "http.response.body", "body": b">"})

    # What an application may do by mistake

    async def _on_fail(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("the secret of the application")

    async def _on_fail_late(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _begin(send, b"first")
        raise ValueError("the secret of the second part")

    async def _on_unfinished(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Return in the middle of an answer."""
        await _begin(send, b"first")

    async def _on_unanswered(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Return without a word."""

    async def _on_short(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send less than was announced."""
        await _answer(send, b"x", fields=[(b"content-length", b"2")])

    async def _on_long(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send more than was announced."""
        await _answer(send, b"xyz", fields=[(b"content-length", b"2")])

    async def _on_line_end(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put what a user typed into a field."""
        await _answer(send, b"x", fields=[(b"location", b"/a\r\nset-cookie: b=c")])

    async def _on_status(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Any status, with a body whether it may have one or not."""
        await _answer(send, b"body", status=int(_query(scope)["is"]))

    async def _on_twice(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin, then begin again."""
        await _begin(send, b"first")
        await send({"type": "http.response.start", "status": 500, "headers": []})

    async def _on_two_receivers(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Receive in two tasks."""
        first = asyncio.ensure_future(receive())
        try:
            await asyncio.sleep(0)
            await receive()
        finally:
            first.cancel()

    async def _on_block(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the loop from doing anything else."""
        time.sleep(float(_query(scope)["s"]))  # noqa: ASYNC251 - on purpose
        await _answer(send, b"blocked")

    async def _on_slow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer after a while."""
        self.counts["slow"] += 1
        await asyncio.sleep(float(_query(scope)["s"]))
        await _answer(send, b"in the end")

    async def _on_ending(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream that says in the log when its `finally` is through."""
        await _begin(send, b"first")
        self.counts["ending"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            _logger.info("finally")

    # Other protocols

    async def _live_through(self, receive: Receive, send: Send) -> None:
        for step in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{step}"
            self.counts[step] += 1
            _logger.info("lifespan.%s", step)
            await send({"type": f"lifespan.{step}.complete"})

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """WebSocket: say where it was opened, then whatever is said."""
        await receive()
        await send({"type": "websocket.accept"})
        seen = {"root_path": scope.get("root_path", ""), "raw_path": scope["path"], "headers": len(scope["headers"])}
        await send({"type": "websocket.send", "text": json.dumps(seen)})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})

    # Waiting

    async def _park(self, place: str) -> None:
        self.counts["parked"] += 1
        await asyncio.Event().wait()

    async def _until_left(self, receive: Receive) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while (await receive())["type"] != "http.disconnect":
                pass
            self.counts["left"] += 1


async def _body(receive: Receive) -> Any:
    """The parts of a body; ends where the client leaves, too."""
    while (message := await receive())["type"] == "http.request":
        yield message["body"]
        if not message["more_body"]:
            return


async def _begin(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _answer(send: Send, body: bytes, *, status: int = 200, fields: Any = ()) -> None:
    start: Message = {"type": "http.response.start", "status": status, "headers": [*_TEXT, *fields]}
    await send(start)
    await send({"type": "http.response.body", "body": body})


def _query(scope: Scope) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
