"""A Durable Streams server in memory that fails on command, on a real socket.

A subset of the protocol, enough for the client's promises: create, append with idempotent producers, close, metadata,
catch-up, long-poll, and the NDJSON that our own server adds. It keeps what it took in lists that a test can look at, and
each `Fault` spoils one request: before or after its effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["Fault", "FlakyServer", "Request", "Stored", "flaky_server"]

_NDJSON = "application/x-ndjson"
_ROOT = "/v1/stream/"


@dataclass(frozen=True, slots=True)
class Fault:
    """Spoils one request of a method.

    Args:
        method: the next request with it is spoilt.
        takes: the request has its effect first.
        status: answered; 0 drops the connection without an answer.
        headers: of that answer.
        body: of that answer.
        cut_after_lines: of an NDJSON answer: so many lines are sent, then half of the next, then the connection is reset.
    """

    method: str
    takes: bool = False
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after_lines: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What came."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class Stored:
    """One stream."""

    content_type: str
    events: list[tuple[str, bytes]] = field(default_factory=list)
    producers: dict[str, tuple[int, int]] = field(default_factory=dict)
    is_closed: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def data(self) -> list[bytes]:
        return [data for _, data in self.events]


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class FlakyServer:
    """The server; made by `flaky_server`."""

    def __init__(self, *, speaks_ndjson: bool, page_events: int, long_poll_s: float, heartbeat_s: float) -> None:
        self.streams: dict[str, Stored] = {}
        self.faults: deque[Fault] = deque()
        self.requests: list[Request] = []
        self.url = ""
        self._speaks_ndjson = speaks_ndjson
        self._page_events = page_events
        self._long_poll_s = long_poll_s
        self._heartbeat_s = heartbeat_s
        self._server: asyncio.Server | None = None
        self._came = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    def appends(self) -> list[tuple[int, int]]:
        """(epoch, seq) of each POST that came, in order."""
        return [
            (int(request.headers["producer-epoch"]), int(request.headers["producer-seq"]))
            for request in self.requests
            if request.method == "POST"
        ]

    async def came(self, method: str) -> None:
        """Wait until a request with the method has come, also one of the past."""
        while not any(request.method == method for request in self.requests):
            self._came.clear()
            await self._came.wait()

    async def start(self, port: int = 0) -> None:
        """Listen; on the same port again after `stop`."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> int:
        """Drop every connection, listen no more, keep the streams; return the port."""
        assert self._server is not None
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()
        return int(self.url.rpartition(":")[2])

    # One connection.

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while (request := await _read_request(reader)) is not None:
                self.requests.append(request)
                self._came.set()
                if not await self._respond(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # `stop` cancels; asyncio's own callback on this task can't bear a cancelled one
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _respond(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False ends the connection."""
        fault = self._next_fault(request)
        if fault is None or fault.takes or fault.cut_after_lines is not None:
            if request.method == "GET" and self._wants_ndjson(request):
                await self._send_ndjson(request, writer, fault)
                return False
            answer = await self._answer(request)
        else:
            answer = _Answer(fault.status, fault.headers, fault.body)
        if fault is not None:
            if not fault.status:
                return False
            answer = _Answer(fault.status, fault.headers, fault.body)
        writer.write(_encode(answer, with_body=request.method != "HEAD"))
        await writer.drain()
        return True

    def _next_fault(self, request: Request) -> Fault | None:
        if self.faults and self.faults[0].method == request.method:
            return self.faults.popleft()
        return None

    async def _answer(self, request: Request) -> _Answer:
        if not request.path.startswith(_ROOT):
            return self._list(request) if request.path == "/v1/streams" else _Answer(404)
        name = unquote(request.path.removeprefix(_ROOT))
        if request.method == "PUT":
            return self._create(name, request)
        stream = self.streams.get(name)
        if stream is None:
            return _problem(404, "not-found", f"there is no stream {name}")
        if request.method == "HEAD":
            return _Answer(200, self._state(stream) | {"content-type": stream.content_type})
        if request.method == "DELETE":
            del self.streams[name]
            return _Answer(204)
        if request.method == "POST":
            return self._append(stream, request)
        return await self._page(stream, request)

    # What it does.

    def _create(self, name: str, request: Request) -> _Answer:
        content_type = request.headers.get("content-type", "application/octet-stream")
        if name in self.streams:
            status = 200 if self.streams[name].content_type == content_type else 409
        else:
            self.streams[name] = Stored(content_type, is_closed="stream-closed" in request.headers)
            status = 201
        return _Answer(status, self._state(self.streams[name]) | {"content-type": content_type})

    def _append(self, stream: Stored, request: Request) -> _Answer:
        headers = request.headers
        epoch, seq = int(headers.get("producer-epoch", "0")), int(headers.get("producer-seq", "-1"))
        if (producer := headers.get("producer-id")) is not None:
            known_epoch, last = stream.producers.get(producer, (epoch, -1))
            if epoch < known_epoch:
                return _Answer(403, {"producer-epoch": str(known_epoch)})
            if epoch > known_epoch and seq != 0:
                return _problem(400, "producer-epoch-start", "a new epoch begins with seq 0")
            if epoch > known_epoch:
                last = -1
            if seq <= last:
                return _Answer(204, self._state(stream) | {"producer-seq": str(last), "producer-epoch": str(epoch)})
            if seq > last + 1:
                return _Answer(409, {"producer-expected-seq": str(last + 1), "producer-received-seq": str(seq)})
        if stream.is_closed and request.body:
            return _Answer(409, self._state(stream) | {"stream-closed": "true"})
        if request.body:
            event_type = headers.get("stream-event-type", "message")
            values = [request.body]
            if stream.content_type == "application/json":
                values = [json.dumps(value, separators=(",", ":")).encode() for value in json.loads(request.body)]
            stream.events += [(event_type, value) for value in values]
        stream.is_closed = stream.is_closed or "stream-closed" in headers
        if producer is not None:
            stream.producers[producer] = (epoch, seq)
        stream.changed.set()
        stream.changed = asyncio.Event()
        known = {"producer-epoch": str(epoch), "producer-seq": str(seq)} if producer is not None else {}
        return _Answer(200 if producer is not None else 204, self._state(stream) | known)

    async def _page(self, stream: Stored, request: Request) -> _Answer:
        start = self._start(stream, request)
        if request.query.get("live") == "long-poll" and start == len(stream.events) and not stream.is_closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.changed.wait(), self._long_poll_s)
        end = min(len(stream.events), start + self._page_events)
        values = stream.data[start:end]
        headers = {"content-type": stream.content_type, "stream-next-offset": _offset(end), "stream-cursor": "1"}
        if end == len(stream.events):
            headers |= {"stream-up-to-date": "true"} | ({"stream-closed": "true"} if stream.is_closed else {})
        if not values and request.query.get("live"):
            return _Answer(204, headers)
        is_json = stream.content_type == "application/json"
        return _Answer(200, headers, b"[" + b",".join(values) + b"]" if is_json else b"".join(values))

    def _list(self, request: Request) -> _Answer:
        prefix = request.query.get("prefix", "")
        names = sorted(name for name in self.streams if name.startswith(prefix))
        if request.method == "DELETE":
            for name in names:
                del self.streams[name]
            return _Answer(200, {"content-type": "application/json"}, json.dumps({"deleted": len(names)}).encode())
        limit = int(request.query.get("limit", "100"))
        names = [name for name in names if name > request.query.get("after", "")]
        page = [
            {
                "name": name,
                "content_type": self.streams[name].content_type,
                "tail_offset": _offset(len(self.streams[name].events)),
                "closed": self.streams[name].is_closed,
                "events": len(self.streams[name].events),
                "bytes": sum(map(len, self.streams[name].data)),
            }
            for name in names[:limit]
        ]
        body = {"streams": page, "next": names[limit - 1] if len(names) > limit else None}
        return _Answer(200, {"content-type": "application/json"}, json.dumps(body).encode())

    # NDJSON, as our own server speaks it.

    def _wants_ndjson(self, request: Request) -> bool:
        name = unquote(request.path.removeprefix(_ROOT))
        return self._speaks_ndjson and name in self.streams and request.headers.get("accept") == _NDJSON

    async def _send_ndjson(self, request: Request, writer: asyncio.StreamWriter, fault: Fault | None) -> None:
        stream = self.streams[unquote(request.path.removeprefix(_ROOT))]
        is_live = request.query.get("live") == "ndjson"
        at = self._start(stream, request)
        end = len(stream.events) if is_live else min(len(stream.events), at + self._page_events)
        headers = {"content-type": _NDJSON, "stream-next-offset": _offset(end), "transfer-encoding": "chunked"}
        if not is_live and end == len(stream.events):
            headers |= {"stream-up-to-date": "true"} | ({"stream-closed": "true"} if stream.is_closed else {})
        writer.write(_encode(_Answer(200, headers), with_body=False))
        sent = 0
        while True:
            changed = stream.changed
            for index in range(at, len(stream.events) if is_live else end):
                line = _line(stream, index)
                if fault is not None and sent == fault.cut_after_lines:
                    _write_chunk(writer, line[: len(line) // 2])
                    await writer.drain()
                    return
                _write_chunk(writer, line)
                sent += 1
            at = len(stream.events) if is_live else end
            if at == len(stream.events) and stream.is_closed:
                _write_chunk(writer, json.dumps({"closed": True, "offset": _offset(at)}).encode() + b"\n")
                break
            if not is_live:
                break
            await writer.drain()
            try:
                await asyncio.wait_for(changed.wait(), self._heartbeat_s)
            except TimeoutError:
                _write_chunk(writer, b"\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.write_eof()

    def _start(self, stream: Stored, request: Request) -> int:
        if "tail" in request.query:
            return max(0, len(stream.events) - int(request.query["tail"]))
        offset = request.query.get("offset", "-1")
        if offset == "now":
            return len(stream.events)
        return 0 if offset == "-1" else int(offset.rpartition("_")[2])

    def _state(self, stream: Stored) -> dict[str, str]:
        state = {"stream-next-offset": _offset(len(stream.events))}
        return state | ({"stream-closed": "true"} if stream.is_closed else {})


@contextlib.asynccontextmanager
async def flaky_server(
    *, speaks_ndjson: bool = True, page_events: int = 3, long_poll_s: float = 0.2, heartbeat_s: float = 0.2
) -> AsyncIterator[FlakyServer]:
    """A server that listens on a port of its own until the block ends."""
    server = FlakyServer(
        speaks_ndjson=speaks_ndjson, page_events=page_events, long_poll_s=long_poll_s, heartbeat_s=heartbeat_s
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def _offset(count: int) -> str:
    return f"{1:016d}_{count:016d}"


def _line(stream: Stored, index: int) -> bytes:
    event_type, data = stream.events[index]
    head = {"offset": _offset(index + 1), "type": event_type, "time": "2026-01-01T00:00:00.000Z"}
    value = data if stream.content_type == "application/json" else json.dumps(data.decode()).encode()
    return json.dumps(head).encode()[:-1] + b',"data":' + value + b"}\n"


def _problem(status: int, slug: str, detail: str) -> _Answer:
    body = {"type": f"/problems/{slug}", "status": status, "detail": detail, "request_id": "req-12345678"}
    return _Answer(status, {"content-type": "application/problem+json"}, json.dumps(body).encode())


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def _encode(answer: _Answer, *, with_body: bool) -> bytes:
    headers = dict(answer.headers)
    if "transfer-encoding" not in headers and answer.status != 204:
        headers["content-length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (answer.body if with_body else b"")


async def _read_request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    return Request(method, parts.path, query, headers, body)
