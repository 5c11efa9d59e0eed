"""A TCP and Unix-socket proxy that breaks things on purpose.

    with Tcpx(("127.0.0.1", 6379), marks=[b"SUBSCRIBE"]) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        proxy.stall("down")                 # replies stay in the proxy
        proxy.heal()
        proxy.reset(only=b"SUBSCRIBE")      # RST, for the connections on which that word was sent

It runs in a thread with an event loop of its own, so that sync and async tests drive it alike; every method returns
once its effect is complete. "up" is from the client to the server, "down" the way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Self, TypeVar

__all__ = ["Address", "Direction", "Tcpx"]

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""
Direction = Literal["up", "down", "both"]

_T = TypeVar("_T")
_CHUNK_BYTES = 64 * 1024
_CALL_TIMEOUT_S = 10.0
_LONGEST_MARK_BYTES = 64
_LINGER_RST = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: close() sends RST instead of FIN."""


@dataclass(eq=False)
class _Pipe:
    """One direction of one link."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    way: Literal["up", "down"]
    limit_bytes: int | None = None
    """So many more bytes pass, then nothing; None: no limit."""
    passed_bytes: int = 0
    lost_bytes: int = 0


@dataclass(eq=False)
class _Link:
    """One accepted connection and its connection to the server."""

    up: _Pipe
    down: _Pipe
    sent: set[bytes] = field(default_factory=set)
    """The marks that the client has sent on it."""
    tail: bytes = b""
    """The end of what was sent before, for a mark that was cut in two."""
    reset_when_limited: bool = False
    is_ended: bool = False

    def pipes(self, way: Direction) -> list[_Pipe]:
        return [pipe for pipe in (self.up, self.down) if way in (pipe.way, "both")]


@dataclass
class _ReplyDrop:
    """Armed by `drop_reply`: waits for its mark."""

    mark: bytes
    after_bytes: int
    times: int
    then_reset: bool


class Tcpx:
    """One proxy in front of one server.

    Args:
        upstream: where connections go.
        listen: path of a Unix socket to listen on; without it a free TCP port of 127.0.0.1.
        marks: words (in capitals) that are noticed in what clients send, to tell connections apart.
        seed: of the jitter.
    """

    def __init__(
        self, upstream: Address, *, listen: str | None = None, marks: Iterable[bytes] = (), seed: int = 0
    ) -> None:
        self._upstream = upstream
        self._listen = listen
        self._marks = {mark.upper() for mark in marks}
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcpx", daemon=True)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._gates: dict[str, asyncio.Event] = {}
        self._stalled: dict[str, bytes | None] = {}
        self._discards: dict[str, bytes | None] = {}
        self._refusing = False
        self._latency_s = 0.0
        self._jitter_s = 0.0
        self._reply_drops: list[_ReplyDrop] = []
        self._dropped_replies = 0
        self.port = 0

    # Life

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CALL_TIMEOUT_S)
        self._loop.close()

    # What is there

    @property
    def address(self) -> Address:
        """Where clients connect."""
        return self._listen or ("127.0.0.1", self.port)

    @property
    def redis_url(self) -> str:
        """The address as redis-py and our settings write it."""
        return f"unix://{self._listen}" if self._listen else f"redis://127.0.0.1:{self.port}/0"

    def count(self, only: bytes | None = None) -> int:
        """How many connections are open, or of these how many have sent a mark."""
        return self._on_loop(lambda: len(self._chosen(only)))

    def lost_bytes(self) -> int:
        """How many bytes the open connections have lost to `discard` and `drop_reply`."""
        return self._on_loop(lambda: sum(pipe.lost_bytes for link in self._links for pipe in link.pipes("both")))

    def dropped_replies(self) -> int:
        """How often `drop_reply` has met its mark."""
        return self._on_loop(lambda: self._dropped_replies)

    # Toxics

    def cut(self, only: bytes | None = None) -> None:
        """Close connections in an orderly way and refuse new ones until `heal`; bytes held by a stall are lost.

        With `only` the chosen ones are closed and new ones are let in: the client may come back at once.
        """
        self._on_loop(lambda: self._close_links(only, abort=False, refuse=only is None))

    def reset(self, only: bytes | None = None) -> None:
        """Close connections with RST (for Unix sockets: at once); new ones are let in."""
        self._on_loop(lambda: self._close_links(only, abort=True, refuse=False))

    def stall(self, way: Direction = "both", only: bytes | None = None) -> None:
        """Take no more bytes in this direction: nothing is lost, nothing arrives, nobody is told."""
        self._on_loop(lambda: self._stalled.update(dict.fromkeys(_ways(way), only)))

    def delay(self, latency_s: float, jitter_s: float = 0.0) -> None:
        """Hold every chunk of both directions back, by the latency and up to the jitter more; order is kept."""
        self._latency_s, self._jitter_s = latency_s, jitter_s

    def discard(self, way: Direction = "both", only: bytes | None = None) -> None:
        """Read and throw away: the sender believes that its bytes have arrived."""
        self._on_loop(lambda: self._discards.update(dict.fromkeys(_ways(way), only)))

    def drop_reply(self, mark: bytes, *, after_bytes: int = 0, times: int = 1, then_reset: bool = True) -> None:
        """Let the next request that holds the mark through, and of its reply only the first bytes.

        The mark must be one of the constructor's. What comes later on that connection is lost as well.
        """
        if mark.upper() not in self._marks:
            raise ValueError(f"{mark!r} is not among the marks of this proxy")
        drop = _ReplyDrop(mark.upper(), after_bytes, times, then_reset)
        self._on_loop(lambda: self._reply_drops.append(drop))

    def retarget(self, upstream: Address) -> None:
        """Send new connections elsewhere; present ones stay."""
        self._upstream = upstream

    def heal(self) -> None:
        """Take every toxic off; stalled bytes go on, cut connections stay cut."""
        self._on_loop(self._heal)

    # On the loop

    async def _open(self) -> None:
        self._gates = {"up": asyncio.Event(), "down": asyncio.Event()}
        if self._listen:
            self._server = await asyncio.start_unix_server(self._accept, self._listen)
        else:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _shut(self) -> None:
        if self._server:
            self._server.close()
        self._close_links(None, abort=True, refuse=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _abort(writer)
            return
        try:
            if isinstance(self._upstream, str):
                server_reader, server_writer = await asyncio.open_unix_connection(self._upstream)
            else:
                server_reader, server_writer = await asyncio.open_connection(*self._upstream)
        except OSError:
            _abort(writer)
            return
        link = _Link(_Pipe(reader, server_writer, "up"), _Pipe(server_reader, writer, "down"))
        self._links.add(link)
        for pipe in (link.up, link.down):
            task = self._loop.create_task(self._pump(link, pipe))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, link: _Link, pipe: _Pipe) -> None:
        """Carry bytes one way until an end is gone, through whatever toxic is on at that moment."""
        try:
            while chunk := await pipe.reader.read(_CHUNK_BYTES):
                if pipe.way == "up":
                    self._notice_marks(link, chunk)
                if self._latency_s or self._jitter_s:
                    await asyncio.sleep(self._latency_s + self._random.random() * self._jitter_s)
                while self._applies(self._stalled, link, pipe) and not link.is_ended:
                    await self._wait_for_change(pipe)
                if link.is_ended:
                    break
                if self._applies(self._discards, link, pipe):
                    pipe.lost_bytes += len(chunk)
                    continue
                passing = chunk if pipe.limit_bytes is None else chunk[: pipe.limit_bytes]
                if pipe.limit_bytes is not None:
                    pipe.limit_bytes -= len(passing)
                pipe.passed_bytes += len(passing)
                pipe.lost_bytes += len(chunk) - len(passing)
                pipe.writer.write(passing)
                await pipe.writer.drain()
                if len(passing) < len(chunk) and link.reset_when_limited:
                    break
        except OSError:
            pass
        finally:
            self._end(link, abort=link.reset_when_limited)

    async def _wait_for_change(self, pipe: _Pipe) -> None:
        gate = self._gates[pipe.way]
        gate.clear()
        await gate.wait()

    def _notice_marks(self, link: _Link, chunk: bytes) -> None:
        """Remember what was sent here, and start what waits for it."""
        text = link.tail + chunk.upper()
        new = {mark for mark in self._marks if text.find(mark, max(0, len(link.tail) - len(mark) + 1)) >= 0}
        link.tail = text[-_LONGEST_MARK_BYTES:]
        link.sent |= new
        for drop in self._reply_drops:
            if drop.times and drop.mark in new:
                drop.times -= 1
                self._dropped_replies += 1
                link.down.limit_bytes = drop.after_bytes
                link.reset_when_limited = drop.then_reset

    def _applies(self, toxic: dict[str, bytes | None], link: _Link, pipe: _Pipe) -> bool:
        if pipe.way not in toxic:
            return False
        mark = toxic[pipe.way]
        return mark is None or mark.upper() in link.sent

    def _chosen(self, only: bytes | None) -> list[_Link]:
        return [link for link in self._links if only is None or only.upper() in link.sent]

    def _close_links(self, only: bytes | None, *, abort: bool, refuse: bool) -> None:
        self._refusing = self._refusing or refuse
        for link in self._chosen(only):
            self._end(link, abort=abort)

    def _end(self, link: _Link, *, abort: bool) -> None:
        self._links.discard(link)
        link.is_ended = True
        for pipe in (link.up, link.down):
            if abort:
                _abort(pipe.writer)
            else:
                with contextlib.suppress(OSError, RuntimeError):
                    pipe.writer.close()

    def _heal(self) -> None:
        self._refusing = False
        self._latency_s = self._jitter_s = 0.0
        self._stalled.clear()
        self._discards.clear()
        self._reply_drops.clear()
        for gate in self._gates.values():
            gate.set()

    # From the caller's thread

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_CALL_TIMEOUT_S)

    def _on_loop(self, step: Callable[[], _T]) -> _T:
        async def run() -> _T:
            return step()

        return self._call(run())


def _ways(way: Direction) -> tuple[str, ...]:
    return ("up", "down") if way == "both" else (way,)


def _abort(writer: asyncio.StreamWriter) -> None:
    """Drop a connection at once, unsent bytes too."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
    writer.transport.abort()
