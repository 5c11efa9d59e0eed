"""One request and its answer over HTTP/2: what an `Exchange` needs of a connection, on one stream of many.

    Stream ── the windows, the limits, the end
    └─ StreamExchange ── ASGI's `receive` and `send`, as over HTTP/1.1, but for the form of the answer

The body waits in the client until the application takes it: the stream's window is opened by what was taken. The answer
waits in the application: `await send()` returns when the message is with the transport.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from h2.errors import ErrorCodes

from observability import metrics
from streamsite.types import Message

from . import framing
from .exchange import NO_BODY, Answer, Exchange
from .refusal import refusal

if TYPE_CHECKING:
    from .connection import Connection
    from .gate import Head
    from .http2 import Http2Connection

__all__ = ["Stream", "StreamExchange"]

Fields = list[tuple[bytes, bytes]]

_NEVER = float("inf")
_SMALL_BYTES = 256
"""A data frame shorter than this, because the window is no larger, is the client's doing."""


class Stream:
    """One stream, from its request to the last frame of its answer.

    Args:
        connection: that it is a part of.
        number: of the stream.
    """

    __slots__ = (
        "_announced_bytes", "_body_deadline_mono", "_connection", "_ends", "_is_short", "_pending", "_read_s", "_trailers",
        "_unacknowledged_bytes", "_waiting", "exchange", "is_over", "is_queued", "number", "progress_mono",
    )  # fmt: skip

    def __init__(self, connection: Http2Connection, number: int) -> None:
        self._connection = connection
        self.number = number
        self.exchange: StreamExchange | None = None
        self.is_over = False
        # the request's body
        self._announced_bytes: int | None = None
        self._unacknowledged_bytes = 0
        self._body_deadline_mono = _NEVER
        self._read_s = 0.0
        # the answer
        self.is_queued = False
        self.progress_mono = 0.0
        self._pending: deque[memoryview] = deque()
        self._ends = False
        self._is_short = False
        self._trailers: Fields = []
        self._waiting: list[asyncio.Future[None]] = []

    # What the exchange sees of it

    @property
    def outbox(self) -> Stream:
        """Where it asks for room."""
        return self

    @property
    def is_full(self) -> bool:
        """Whether a message waits for a window or for the transport."""
        return bool(self._pending)

    @property
    def limits(self) -> Any:
        """Of a connection."""
        return self._connection.limits

    @property
    def server_field(self) -> bytes:
        """`Server: …` with its line end."""
        return self._connection.server.server_field

    async def room(self) -> None:
        """Wait until nothing waits any more, or the stream is gone."""
        while self._pending:
            future = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)

    def on_body_wanted(self, *, send_continue: bool) -> None:
        """The application waits for the body."""
        if send_continue:
            self.inform([(b":status", b"100")])
        self._body_deadline_mono = self._connection.server.now_mono() + self.limits.body_s
        self._connection.look_soon()

    def hold(self) -> None:
        """Nothing: the client has a window, and it is not opened before the application takes the body."""

    def release(self) -> None:
        """Nothing, as `hold`."""

    def on_answered(self, exchange: Exchange, *, is_kept: bool) -> None:  # noqa: ARG002 - as a connection has it
        """The answer is given, if not sent; the rest of the body is for nobody."""
        self.acknowledge()

    def on_application_ended(self, exchange: Exchange) -> None:
        """The application has returned."""
        self._connection.server.on_application_ended(exchange)

    def abort(self) -> None:
        """Break the answer off, so that nobody takes what came for the whole."""
        self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)

    def refuse(self, status: int, slug: str, detail: str, request_id: bytes = b"") -> None:
        """Answer what no application answers."""
        exchange = self.exchange
        if exchange is not None:
            request_id = exchange.head.request_id
            if not exchange.is_complete:
                exchange.leave(self._connection.server.now_mono())
        metrics.requests_refused.labels(str(status)).inc()
        fields, body = refusal(status, slug, detail, request_id)
        is_head = exchange is not None and exchange.head.method == "HEAD"
        head = [(b":status", b"%d" % status), *((name.lower(), value) for name, value in fields)]
        self.begin([*head, (b"date", framing.date_field()[6:-2]), (b"server", self.server_field[8:-2])], ends=is_head)
        if not is_head:
            self.send(body, ends=True)

    # What the exchange sends

    def inform(self, fields: Fields) -> None:
        """Send a 1xx answer."""
        self._connection.send_fields(self, fields, ends=False)

    def begin(self, fields: Fields, *, ends: bool) -> None:
        """Send the header of the answer."""
        self._connection.send_fields(self, fields, ends=ends)

    def send(self, data: bytes, *, ends: bool, trailers: Fields | None = None) -> None:
        """Send a part of the body, or queue what can't be sent yet; look at `is_full` afterwards."""
        if self.is_over:
            return
        if not self._pending:
            self.progress_mono = self._connection.server.now_mono()
        if data:
            self._pending.append(memoryview(data))
        self._ends = ends
        self._trailers = trailers or []
        self._connection.queue(self)

    # What the connection calls

    def start(self, head: Head, announced_bytes: int | None, *, is_body_complete: bool) -> StreamExchange | None:
        """Make the exchange, unless a body was announced and none comes, which h2 lets pass."""
        self._announced_bytes = announced_bytes
        if is_body_complete and announced_bytes:
            self._connection.reset(self, ErrorCodes.PROTOCOL_ERROR)
            return None
        self.exchange = StreamExchange(self, head, is_body_complete)
        return self.exchange

    def feed(self, data: bytes, counted_bytes: int) -> None:
        """Take a part of the body.

        Args:
            counted_bytes: what it takes of the windows; padding counts.
        """
        self._unacknowledged_bytes += counted_bytes
        exchange = self.exchange
        if exchange is None or exchange.is_complete or not data:
            self.acknowledge()
        if exchange is not None and data:
            exchange.feed(data)

    def end_body(self) -> None:
        """The body is complete; h2 lets a length pass that is not the announced one where trailers end it."""
        exchange = self.exchange
        if exchange is None:
            return
        if self._announced_bytes is not None and exchange.received_bytes != self._announced_bytes:
            self._connection.reset(self, ErrorCodes.PROTOCOL_ERROR)
            return
        self._body_deadline_mono = _NEVER
        exchange.end_body()

    def acknowledge(self) -> None:
        """Open the windows for as much as was taken."""
        if self._unacknowledged_bytes:
            size, self._unacknowledged_bytes = self._unacknowledged_bytes, 0
            self._connection.acknowledge(self, size)

    def take(self, size: int) -> tuple[bytes, bool]:
        """The next part of the answer's body, and whether it ends the stream.

        Args:
            size: at most, > 0 unless nothing waits.
        """
        data = b""
        if self._pending:
            first = self._pending[0]
            if len(first) <= size:
                data = bytes(self._pending.popleft())
            else:
                data = bytes(first[:size])
                self._pending[0] = first[size:]
            if not self._pending:
                self._wake()
        return data, self._ends and not self._pending and not self._trailers

    def take_trailers(self) -> Fields:
        """The trailer fields, if it is their turn."""
        return self._trailers if self._ends and not self._pending else []

    def has_work(self) -> bool:
        """Whether a frame is due."""
        return bool(self._pending) or self._ends

    def is_dribbled(self, window: int) -> bool:
        """Whether the client's window has made two frames in a row absurdly small; the rest of a window may be."""
        was_short, self._is_short = self._is_short, window < _SMALL_BYTES and window < len(self._pending[0])
        return was_short and self._is_short

    def finish(self) -> None:
        """The answer is sent."""
        self.is_over = True
        self.exchange = None

    def leave(self) -> None:
        """The stream is broken."""
        self.is_over = True
        self._pending.clear()
        self._wake()
        self.acknowledge()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.leave(self._connection.server.now_mono())

    def check(self, now_mono: float) -> bool:
        """See whether a time limit is over; whether to look again soon."""
        limits = self.limits
        if self._pending and now_mono - self.progress_mono >= limits.write_s:
            self._connection.count_timeout("write")
            self._connection.reset(self, ErrorCodes.CANCEL)
            return False
        exchange = self.exchange
        if exchange is None or exchange.is_body_complete or not exchange.is_body_wanted:
            return bool(self._pending)
        if not self._unacknowledged_bytes:  # else the application is slow, not the client
            self._read_s += 1.0
        is_slow = self._read_s > limits.body_grace_s and (
            exchange.received_bytes < self._read_s * limits.body_rate_bytes_per_s
        )
        if is_slow or now_mono >= self._body_deadline_mono:
            self._connection.count_timeout("body")
            if exchange.is_committed:
                self._connection.reset(self, ErrorCodes.CANCEL)
            else:
                self.refuse(408, "request-timeout", "the body of the request came too slowly")
        return not self.is_over

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


class StreamExchange(Exchange):
    """One request and its answer in HTTP/2's form: fields and data, each with its own frames."""

    __slots__ = ("_head", "_stream", "_trailer_fields")

    def __init__(self, stream: Stream, head: Head, is_body_complete: bool) -> None:
        super().__init__(cast("Connection", stream), head, is_body_complete)
        self._stream = stream
        self._head: Fields = []
        self._trailer_fields: Fields = []

    def _take_parts(self) -> Message:
        message = super()._take_parts()
        self._stream.acknowledge()
        return message

    def _begin(self, message: Message) -> None:
        if self._answer is not Answer.NONE:
            raise RuntimeError("the answer has begun, and its status and header are final")
        status = message["status"]
        if not 200 <= status <= 999:
            raise ValueError(f"{status} is not a status of an answer")
        seen = set()
        fields: Fields = [(b":status", b"%d" % status)]
        for name, value in message.get("headers", ()):
            name = name.lower()  # noqa: PLW2901 - HTTP/2 has no capitals (RFC 9113, 8.2)
            if name in framing.OWN_FIELDS:
                continue
            if name == b"content-length":
                self._announced_bytes = int(value)
            seen.add(name)
            fields.append((name, value.strip(b" \t")))
        framing.encode_fields(fields)  # refuses line ends
        if b"date" not in seen:
            fields.append((b"date", framing.date_field()[6:-2]))
        if b"server" not in seen:
            fields.append((b"server", self._stream.server_field[8:-2]))
        self._status = status
        self._head = fields
        self._has_trailers = bool(message.get("trailers")) and b"trailer" in seen and self.head.takes_trailers
        self._answer = Answer.BEGUN

    def _send_body(self, message: Message) -> None:
        if self._answer not in {Answer.BEGUN, Answer.COMMITTED}:
            raise RuntimeError(
                "the answer has not begun: http.response.start comes first"
                if self._answer is Answer.NONE
                else "the answer is complete"
            )
        body, is_last = message.get("body", b""), not message.get("more_body", False)
        if self.head.method == "HEAD" or self._status in NO_BODY:
            body = b""
        elif self._announced_bytes is not None:
            self._check_length(len(body), is_last=is_last)
        ends = is_last and not self._has_trailers
        if self._answer is Answer.BEGUN:
            if is_last and self._announced_bytes is None and self.head.method != "HEAD" and self._status not in NO_BODY:
                self._head.append((b"content-length", b"%d" % len(body)))
            self._answer = Answer.COMMITTED
            self._stream.begin(self._head, ends=ends and not body)
            if ends and not body:
                self._complete()
                return
        if body or ends:
            self._stream.send(body, ends=ends)
        if is_last:
            if self._has_trailers:
                self._answer = Answer.TRAILERS
            else:
                self._complete()

    def _check_length(self, size: int, *, is_last: bool) -> None:
        announced = self._announced_bytes or 0
        self._sent_bytes += size
        if self._sent_bytes > announced or (is_last and self._sent_bytes < announced):
            raise RuntimeError(f"the body has not the {announced} bytes that Content-Length announced")

    def _send_trailers(self, message: Message) -> None:
        if self._answer is Answer.COMPLETE and not self._has_trailers:
            return  # the client did not ask for them, and the answer went without
        if self._answer is not Answer.TRAILERS:
            raise RuntimeError("trailers come after the body")
        fields = [(name.lower(), value.strip(b" \t")) for name, value in message.get("headers", ())]
        framing.encode_trailers(fields)  # refuses what may not be there
        self._trailer_fields += fields
        if not message.get("more_trailers", False):
            self._stream.send(b"", ends=True, trailers=self._trailer_fields)
            self._complete()

    def _send_early_hint(self, message: Message) -> None:
        if self._answer is not Answer.NONE:
            raise RuntimeError("an early hint comes before the answer")
        links: Iterable[bytes] = message.get("links", ())
        fields: Fields = [(b"link", link) for link in links]
        if fields and framing.encode_fields(fields):
            self._stream.inform([(b":status", b"103"), *fields])
