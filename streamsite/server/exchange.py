"""One request and its answer: ASGI's `receive` and `send` on an HTTP/1.1 connection.

    receive ◀── body parts, bounded: the connection stops reading while the application does not take them
    send    ──▶ framing ──▶ outbox; waits while the client does not take them

Once the header is sent nothing about the answer can change. An answer that fails on its way is broken off visibly: a
part that looks like the whole would be worse than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING

from streamsite.types import Application, Message, Scope

from . import framing

if TYPE_CHECKING:
    from .connection import Connection
    from .gate import Head

__all__ = ["NO_BODY", "Answer", "ClientLeft", "Exchange"]

_DISCONNECT: Message = {"type": "http.disconnect"}
NO_BODY = frozenset({204, 304})
_NOTED_FIELDS = framing.OWN_FIELDS | {b"content-length", b"date", b"server", b"trailer"}
_JOINED_BYTES = 64 * 1024
"""Larger parts are sent as they are, beside their frame: a copy would cost more than a second system call."""
_PIECE_BYTES = 128 * 1024
"""Of a larger part, so much is given to the socket at once: of a page of a megabyte that nobody reads, no second one waits."""
_PART_BYTES = 64
"""What a part of a body costs beside its bytes: a client may send chunks of one byte."""

_logger = logging.getLogger("streamsite.server")


class ClientLeft(OSError):
    """Nobody reads the answer any more (ASGI 2.4: `send` raises an OSError)."""


class Answer(Enum):
    """How far the answer is."""

    NONE = 0
    BEGUN = 1  # `start` was given, nothing is on the wire, and so everything can still be taken back
    COMMITTED = 2
    TRAILERS = 3  # the body is complete, trailers are due
    COMPLETE = 4


_NONE, _BEGUN, _COMMITTED, _TRAILERS, _COMPLETE = (
    Answer  # an enumeration's own look-up is slow, and this is the hot path
)


class Exchange:
    """One request and its answer.

    Args:
        connection: that it came over.
        head: of the request.
    """

    __slots__ = (
        "__weakref__", "_announced_bytes", "_answer", "_body_bytes", "_connection", "_expects_continue", "_extra",
        "_fields", "_has_trailers", "_is_chunked", "_is_held", "_is_kept", "_is_sending_large", "_leave_callback",
        "_parts", "_sent_bytes", "_status", "_trailers", "_waiting", "head", "is_body_complete",
        "is_body_delivered", "is_body_wanted", "is_gone", "left_mono", "received_bytes", "task",
    )  # fmt: skip

    def __init__(self, connection: Connection, head: Head, is_body_complete: bool) -> None:
        self._connection = connection
        self.head = head
        self.task: asyncio.Task[None] | None = None
        self.is_gone = False
        self.left_mono = 0.0
        self._leave_callback: Callable[[], object] | None = None
        # the request's body
        self.is_body_complete = is_body_complete
        self.is_body_delivered = False
        self.is_body_wanted = False
        self.received_bytes = 0
        self._parts: deque[bytes] = deque()
        self._body_bytes = 0
        self._is_held = False
        self._expects_continue = head.expects_continue and not is_body_complete
        self._waiting: asyncio.Future[None] | None = None
        # the answer
        self._answer = _NONE
        self._status = 0
        self._fields = b""
        self._extra: list[bytes] = []
        self._announced_bytes: int | None = None
        self._sent_bytes = 0
        self._is_sending_large = False
        self._is_kept = head.keep_alive
        self._is_chunked = False
        self._has_trailers = False
        self._trailers: list[tuple[bytes, bytes]] = []

    @property
    def is_committed(self) -> bool:
        """Whether the header is on its way."""
        return self._answer in (_COMMITTED, _TRAILERS, _COMPLETE)

    @property
    def is_complete(self) -> bool:
        """Whether the answer is whole."""
        return self._answer is _COMPLETE

    async def run(self, application: Application, scope: Scope) -> None:
        """Let the application answer, and see to it that there is an answer, or a broken connection.

        Cancellation: breaks off what is not complete, and travels on.
        """
        try:
            await application(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self.is_complete:
                self._connection.abort()
            raise
        except Exception as error:
            if not (self.is_gone and isinstance(error, OSError)):
                _logger.exception("application.failed", extra={"method": self.head.method, "path": scope["path"]})
            self._fail()
        else:
            if not self.is_complete and not self.is_gone:
                _logger.error("application.unfinished", extra={"method": self.head.method, "path": scope["path"]})
                self._fail()
        finally:
            self._connection.on_application_ended(self)

    # For the application

    async def receive(self) -> Message:
        """The next part of the body, then `http.disconnect` once the client has left or has its answer.

        Cancellation: nothing is lost; the part is there for the next call.
        """
        if not self.is_body_delivered:
            while not self._parts and not self.is_body_complete and not self._is_over:
                if not self.is_body_wanted:
                    self.is_body_wanted = True
                    self._connection.on_body_wanted(send_continue=self._expects_continue and not self.is_committed)
                    self._expects_continue = False
                await self._wait()
            if not self._is_over:
                return self._take_parts()
        while not self._is_over:
            await self._wait()
        return _DISCONNECT

    async def send(self, message: Message) -> None:
        """Take one message of the answer; return when the client has taken enough of it.

        Raises:
            ClientLeft: the client has.
            ValueError, RuntimeError: the message is wrong, or not due.
        """
        if self.is_gone:
            raise ClientLeft("the client has left")
        while self._is_sending_large:  # another task's message is on its way
            await asyncio.sleep(0)
            await self._connection.outbox.room()
        kind = message["type"]
        if kind == "http.response.body":
            if (large := self._send_body(message)) is not None:
                await self._send_large(*large)
        elif kind == "http.response.start":
            self._begin(message)
        elif kind == "http.response.trailers":
            self._send_trailers(message)
        elif kind == "http.response.early_hint":
            self._send_early_hint(message)
        else:
            raise ValueError(f"{kind!r} is not a message of an HTTP answer")
        if self._connection.outbox.is_full:
            await self._connection.outbox.room()
            if self.is_gone:
                raise ClientLeft("the client has left")

    def on_leave(self, callback: Callable[[], object]) -> None:
        """Have something called once if the client leaves before its answer is complete (`ON_LEAVE`)."""
        self._leave_callback = callback
        if self.is_gone:
            callback()

    # For the connection

    def feed(self, part: bytes) -> None:
        """Take a part of the body."""
        self.received_bytes += len(part)
        if self._answer is _COMPLETE:
            return  # nobody wants it any more
        self._parts.append(part)
        self._body_bytes += len(part) + _PART_BYTES
        if self._body_bytes >= self._connection.limits.held_bytes and not self._is_held:
            self._is_held = True
            self._connection.hold()
        self._wake()

    def end_body(self) -> None:
        """The body is complete."""
        self.is_body_complete = True
        self._wake()

    def leave(self, now_mono: float) -> None:
        """The client has left."""
        self.is_gone = True
        self.left_mono = now_mono
        self._parts.clear()
        self._wake()
        if self._leave_callback is not None:
            self._leave_callback()

    # The body

    @property
    def _is_over(self) -> bool:
        return self.is_gone or self._answer is _COMPLETE

    def _take_parts(self) -> Message:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._body_bytes = 0
        self.is_body_delivered = self.is_body_complete
        if self._is_held:
            self._is_held = False
            self._connection.release()
        return {"type": "http.request", "body": body, "more_body": not self.is_body_complete}

    async def _wait(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            raise RuntimeError("two tasks receive from one request")
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # The answer

    def _begin(self, message: Message) -> None:
        if self._answer is not _NONE:
            raise RuntimeError("the answer has begun, and its status and header are final")
        fields: list[tuple[bytes, bytes]] = []
        extra: list[bytes] = []
        has_date = has_server = has_trailer = False
        announced_bytes: int | None = None
        is_kept = self._is_kept
        for field in message.get("headers", ()):
            name = field[0].lower()
            if name in _NOTED_FIELDS:
                if name == b"content-length":
                    if announced_bytes is not None or not field[1].isdigit():
                        raise ValueError("Content-Length should be one number")
                    announced_bytes = int(field[1])
                elif name == b"date":
                    has_date = True
                elif name == b"server":
                    has_server = True
                elif name == b"trailer":
                    has_trailer = True
                else:  # of the connection
                    if name == b"connection" and field[1].lower() == b"close":
                        is_kept = False
                    continue
            fields.append(field)
        if not has_date:
            extra.append(framing.date_field())
        if not has_server:
            extra.append(self._connection.server_field)
        status = message["status"]
        framing.status_line(status)  # here, where it can still be refused
        if status < 200:
            raise ValueError(f"{status} is not the status of an answer; another one would have to follow")
        self._fields = framing.encode_fields(fields)
        self._status, self._extra = status, extra
        self._announced_bytes, self._is_kept = announced_bytes, is_kept
        self._has_trailers = bool(message.get("trailers")) and has_trailer and self.head.takes_trailers
        self._answer = _BEGUN

    def _send_body(self, message: Message) -> tuple[bytes, bytes, bool] | None:
        """Send a part; of a large one only what comes before it.

        Returns: what then is to be sent: the part, what ends it, and whether it is the last one.
        """
        if self._answer is _NONE:
            raise RuntimeError("the answer has not begun: http.response.start comes first")
        if self._answer not in (_BEGUN, _COMMITTED):
            raise RuntimeError("the answer is complete")
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if self.head.method == "HEAD" or self._status in NO_BODY:
            body = b""
        elif self._announced_bytes is not None:
            sent_bytes = self._sent_bytes + len(body)
            if sent_bytes > self._announced_bytes or (is_last and sent_bytes < self._announced_bytes):
                raise RuntimeError(f"the body has not the {self._announced_bytes} bytes that Content-Length announced")
            self._sent_bytes = sent_bytes
        head = self._commit(message) if self._answer is _BEGUN else b""  # only now: so far all can be taken back
        outbox = self._connection.outbox
        write = outbox.write if is_last else outbox.write_soon
        end = framing.LAST_CHUNK if self._is_chunked and is_last and not self._has_trailers else b""
        if len(body) > _JOINED_BYTES:
            if self._is_chunked:
                head += b"%x\r\n" % len(body)
                end = b"\r\n" + end
            if head:
                outbox.write(head)
            return body, end, is_last
        if data := head + (framing.chunk(body) if body and self._is_chunked else body) + end:
            write(data)
        if is_last:
            self._end_body_of_answer()
        return None

    async def _send_large(self, body: bytes, end: bytes, is_last: bool) -> None:
        """Send a large part in pieces: what waits for the client is one of them, beside the part itself.

        Cancellation: breaks the connection, for the rest of the part is missing.
        """
        outbox = self._connection.outbox
        self._is_sending_large = True
        try:
            for at in range(0, len(body), _PIECE_BYTES):
                outbox.write(body[at : at + _PIECE_BYTES])
                if outbox.is_full:
                    await outbox.room()
                    if self.is_gone:
                        raise ClientLeft("the client has left")
        except asyncio.CancelledError:
            self.is_gone = True  # whoever goes on to send after it would send into the middle
            self._connection.abort()
            raise
        finally:
            self._is_sending_large = False
        if end:
            outbox.write(end)
        if is_last:
            self._end_body_of_answer()

    def _end_body_of_answer(self) -> None:
        if self._has_trailers:
            self._answer = _TRAILERS
        else:
            self._complete()

    def _commit(self, message: Message) -> bytes:
        """Decide on the framing and return the header."""
        extra = self._extra
        if not self.is_body_complete and not self.is_body_wanted:
            self._is_kept = False  # what follows on the connection is a body that nobody wants
        if self.head.method != "HEAD" and self._status not in NO_BODY and self._announced_bytes is None:
            if not message.get("more_body", False) and not self._has_trailers:
                self._announced_bytes = len(message.get("body", b""))
                extra.append(b"Content-Length: %d\r\n" % self._announced_bytes)
            elif self.head.version == "1.1":
                self._is_chunked = True
                extra.append(b"Transfer-Encoding: chunked\r\n")
            else:
                self._is_kept = False  # HTTP/1.0: the end of the connection is the end of the body
        self._has_trailers = self._has_trailers and self._is_chunked
        self._is_kept = self._is_kept and not self._connection.is_draining
        if not self._is_kept:
            extra.append(b"Connection: close\r\n")
        elif self.head.version == "1.0":
            extra.append(b"Connection: keep-alive\r\n")
        extra.append(b"\r\n")
        self._answer = _COMMITTED
        return framing.status_line(self._status) + self._fields + b"".join(extra)

    def _send_trailers(self, message: Message) -> None:
        if self._answer is _COMPLETE and not self._has_trailers:
            return  # the client did not ask for them, and the answer went without
        if self._answer is not _TRAILERS:
            raise RuntimeError("trailers come after the body")
        self._trailers += message.get("headers", ())
        if not message.get("more_trailers", False):
            self._connection.outbox.write(framing.encode_trailers(self._trailers))
            self._complete()

    def _send_early_hint(self, message: Message) -> None:
        if self._answer is not _NONE:
            raise RuntimeError("an early hint comes before the answer")
        links: Iterable[bytes] = message.get("links", ())
        if self.head.version == "1.1" and (fields := framing.encode_fields((b"Link", link) for link in links)):
            self._connection.outbox.write(framing.status_line(103) + fields + b"\r\n")

    def _complete(self) -> None:
        self._answer = _COMPLETE
        self._wake()
        self._connection.on_answered(self, is_kept=self._is_kept and self.is_body_complete)

    def _fail(self) -> None:
        """Say so while it can be said, else break the connection."""
        if self.is_gone or self.is_complete:
            return
        if self.is_committed:
            self._connection.abort()
        else:
            self._answer = _COMPLETE
            self._connection.refuse(500, "internal", "the server failed; its log has more")
