"""One HTTP/1.1 connection: llhttp on Twisted's transport, one request after the other.

What Twisted calls comes first, then what an exchange calls, then the way of the bytes:

    dataReceived ──▶ a head is complete? ──▶ gate ──▶ llhttp ──▶ Exchange, in a task of its own
                 └─▶ a body is due?      ──▶ llhttp ──▶ Exchange.feed
                 └─▶ an answer is due?   ──▶ the bytes wait, unparsed and bounded

No head is parsed before the answer to the one before is complete, so pipelining costs some bytes and no objects.
Time limits are kept by `watch.py`, which asks each connection whose time has come.
"""

from __future__ import annotations

import logging
import re
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import httptools

from observability import metrics
from streamsite.types import ON_LEAVE, Scope

from . import framing
from .exchange import Exchange
from .gate import Fields, Head, Refused, check_head, check_raw, without_upgrade
from .outbox import Outbox
from .refusal import encode_refusal

if TYPE_CHECKING:
    from .limits import Limits
    from .server import Server

__all__ = ["Connection"]

_NEVER = float("inf")
_ASGI = {"version": "3.0", "spec_version": "2.4"}
FRESH_S = 1.0
"""How long a process that ends waits for the first request of a connection that it has accepted."""
_CHUNK_LINE_BYTES = 16
"""What a chunk's own framing takes at most without extensions: size, two line ends."""
_UPGRADE_VALUE = re.compile(rb"\r\nupgrade:[ \t]*([^\r\n\0]*)", re.IGNORECASE)

_logger = logging.getLogger("streamsite.server")


class Phase(IntEnum):
    """Where a connection is; what its time limit means."""

    IDLE = 0  # nothing has come since it began, or since the last answer
    HEAD = 1  # a part of a head has come
    OPEN = 2  # a request is being received or answered
    LINGER = 3  # the last answer is out; the client may still be sending
    CLOSED = 4


_IDLE, _HEAD, _OPEN, _LINGER, _CLOSED = Phase  # an enumeration's own look-up is slow, and this is the hot path


class Connection:
    """One connection, as Twisted's protocol and llhttp's callbacks.

    Args:
        server: that it belongs to.
    """

    __slots__ = (
        "_began_mono", "_body_left", "_body_mono", "_chunks", "_client", "_deadline_mono", "_discarded", "_exchange",
        "_fed_bytes", "_fields", "_has_asked", "_is_fed", "_is_message_complete", "_known", "_local", "_parser", "_progress", "_progress_mono", "_read_s",
        "_stalls", "_target", "_unread", "check_mono", "is_reading", "limits", "outbox", "phase", "server", "transport",
    )  # fmt: skip

    transport: Any
    outbox: Outbox

    def __init__(self, server: Server) -> None:
        self.server = server
        self.limits: Limits = server.limits
        self.phase = _IDLE
        self.check_mono = _NEVER
        self.is_reading = True
        self._began_mono = 0.0
        self._has_asked = False
        self._parser: Any = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self._unread = b""
        self._fields: Fields = []
        self._target = b""
        self._is_message_complete = False
        self._known: tuple[bytes, Head] | None = None
        self._is_fed = True
        self._body_left = 0
        self._fed_bytes = 0
        self._chunks = 0
        self._discarded = 0
        self._deadline_mono = _NEVER
        self._body_mono = 0.0
        self._read_s = 0.0
        self._progress = (0, 0)
        self._progress_mono = 0.0
        self._stalls = False

    # What Twisted calls

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted names it
        """The connection is there; under TLS, before the handshake."""
        self.transport = transport
        transport.setTcpNoDelay(True)
        self.outbox = Outbox(transport, self._on_queued)
        peer, host = transport.getPeer(), transport.getHost()
        self._client = (peer.host, peer.port)
        self._local = (host.host, host.port)
        self._began_mono = self.server.now_mono()
        self._set_deadline(self.limits.head_s)
        self.server.on_connected(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted names it
        """Bytes came."""
        # Who is not answered by the next pass of the watch is looked at then. A client that sent bytes and a reset is gone,
        # and nothing else tells: libuv calls once for a socket with an error, and then looks at it no more.
        self.check_mono = 0.0
        if self.phase >= _LINGER:
            self._discard(data)
            return
        if self._unread:
            data = self._unread + data
            self._unread = b""
        self._consume(data)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802, ARG002 - Twisted names it
        """The connection is gone, for whatever reason."""
        self.phase = _CLOSED
        self.check_mono = _NEVER
        self._unread = b""
        self._known = None
        self._parser = None  # it holds us, and we it
        self.server.on_disconnected(self)
        if self._exchange is not None:
            self._exchange.leave(self.server.now_mono())
            self._exchange = None

    def logPrefix(self) -> str:  # noqa: N802 - Twisted names it
        """For Twisted's own log."""
        return "streamsite"

    # What an exchange calls

    @property
    def is_draining(self) -> bool:
        """Whether this answer shall be the connection's last."""
        return self.server.is_draining

    @property
    def server_field(self) -> bytes:
        """`Server: …` with its line end."""
        return self.server.server_field

    def on_body_wanted(self, *, send_continue: bool) -> None:
        """The application waits for the body."""
        if send_continue:
            self.outbox.write(framing.CONTINUE)
        self._body_mono = self.server.now_mono()
        self._deadline_mono = self._body_mono + self.limits.body_s
        self.check_mono = min(self.check_mono, self._body_mono + 1.0)
        self._read_s = 0.0

    def hold(self) -> None:
        """Read no more for now."""
        if self.is_reading and self.phase < _CLOSED:
            self.is_reading = False
            self.transport.pauseProducing()
            self.server.watch.look_after(self)

    def release(self) -> None:
        """Read on."""
        if not self.is_reading and self.phase < _CLOSED:
            self.is_reading = True
            self.server.watch.forget(self)
            self.transport.resumeProducing()

    def on_answered(self, exchange: Exchange, *, is_kept: bool) -> None:
        """An answer is complete; the next request may be taken."""
        if exchange is not self._exchange:
            return
        self._exchange = None
        if not is_kept:
            self._end(lingers=not exchange.is_body_complete or bool(self._unread))
            return
        self.phase = _IDLE
        self._set_deadline(self.limits.idle_s)
        self.release()
        if self._unread:
            data, self._unread = self._unread, b""
            self._consume(data)

    def on_application_ended(self, exchange: Exchange) -> None:
        """The application has returned."""
        self.server.on_application_ended(exchange)

    def refuse(self, status: int, slug: str, detail: str, request_id: bytes = b"", *, is_head: bool = False) -> None:
        """Answer what no application answers, and close."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            request_id = exchange.head.request_id
            if not exchange.is_complete:
                exchange.leave(self.server.now_mono())
        metrics.requests_refused.labels(str(status)).inc()
        answer = encode_refusal(status, slug, detail, request_id, self.server.server_field)
        if is_head or (exchange is not None and exchange.head.method == "HEAD"):
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.outbox.write(answer)
        self._end(lingers=True)

    def abort(self) -> None:
        """Break the connection, so that nobody takes what came for the whole."""
        if self.phase is not _CLOSED:
            self.outbox.release()
            self.transport.abortConnection()

    def hand_over(self) -> None:
        """Leave the transport to another protocol: WebSocket, or HTTP/2 after a TLS handshake."""
        self.outbox.release()
        self.release()
        self.phase = _CLOSED
        self._parser = None
        self.server.on_disconnected(self)

    def begin_drain(self) -> None:
        """Nothing: the answer to the next request closes the connection, and the end of the drain those without one."""

    def close_if_idle(self) -> None:
        """Close if no request is under way, nor is one to be expected: a client that has just come is about to ask."""
        if self.phase is _IDLE and (self._has_asked or self.server.now_mono() - self._began_mono > FRESH_S):
            self._end(lingers=False)

    # What the watch calls

    def check(self, now_mono: float) -> None:
        """See whether the client is there and a time limit is over; set when to look again."""
        if self.outbox.is_reset():
            self.abort()
            self.check_mono = _NEVER
            return
        if self._stalls and not self._is_progressing(now_mono):
            self._count("write")
            self.abort()
            self.check_mono = _NEVER
            return
        if self.phase is _OPEN and self._exchange is not None and not self._exchange.is_body_complete:
            self._check_body(now_mono)
        if now_mono >= self._deadline_mono and self.phase is not _CLOSED:
            self._expire()
        elif self.phase is not _CLOSED:
            is_watched = self._stalls or (
                self._exchange is not None and self._exchange.is_body_wanted and not self._exchange.is_body_complete
            )
            self.check_mono = min(self._deadline_mono, now_mono + 1.0) if is_watched else self._deadline_mono

    # The way of the bytes

    def _consume(self, data: bytes) -> None:
        while data and self.phase < _LINGER:
            exchange = self._exchange
            if exchange is None:
                data = self._take_head(data)
            elif exchange.is_body_complete:
                self._unread = data
                if len(data) >= self.limits.held_bytes:
                    self.hold()
                return
            else:
                data = self._take_body(data)

    def _take_head(self, data: bytes) -> bytes:
        """Begin a request if its head is complete; return what follows it."""
        if data[0] == 0x0D:
            # RFC 9112, 2.2: one empty line may stand before a request
            if data in (b"\r", b"\r\n"):
                self._unread = data
                return b""
            if data.startswith(b"\r\n"):
                data = data[2:]
        try:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                self._keep_partial_head(data)
                return b""
            raw, rest = (data, b"") if end == len(data) else (data[:end], data[end:])
            known = self._known
            if known is not None and known[0] == raw:
                # A client that repeats itself to the byte, as publishers do, is not parsed again.
                self._is_fed = False
                self._begin(known[1], is_body_complete=known[1].body_bytes == 0)
            else:
                self._is_fed = True
                head = self._parse(raw)
                if head.upgrade == b"websocket" and head.method == "GET" and self._is_message_complete:
                    self._upgrade(raw, rest, head.query)
                    return b""
                # llhttp has to see a chunked body, and so its head.
                self._known = (raw, head) if head.body_bytes >= 0 and head.keep_alive and not head.upgrade else None
                self._begin(head, is_body_complete=self._is_message_complete)
            return rest
        except Refused as refused:
            self._refuse_head(refused, data)
        except httptools.HttpParserUpgrade:
            self._refuse_head(Refused(400, "bad-request", "the method CONNECT is not taken"), data)
        except httptools.HttpParserError as error:
            self._refuse_head(Refused(400, "bad-request", f"the request can't be parsed: {error}"), data)
        return b""

    def _keep_partial_head(self, data: bytes) -> None:
        self._fields = []
        check_raw(data, self.limits)
        if not 0x41 <= data[0] <= 0x5A:
            raise Refused(400, "bad-request", "a request begins with its method")  # a TLS hello, for example
        if data.count(b"\n") != data.count(b"\r\n"):
            raise Refused(400, "bad-request", "a line ends with CR and LF")
        self._unread = data
        if self.phase is _IDLE:
            self.phase = _HEAD
            self._deadline_mono = self.server.now_mono() + self.limits.head_s

    def _parse(self, raw: bytes) -> Head:
        """Let llhttp and the gate see a head.

        Raises: Refused, HttpParserError.
        """
        self._fields = []
        check_raw(raw, self.limits)
        upgrade = b""
        parsed = raw
        if (match := _UPGRADE_VALUE.search(raw)) is not None:
            upgrade = match[1].strip()
            parsed = without_upgrade(raw)
        self._target = b""
        self._is_message_complete = False
        parser = self._parser
        parser.feed_data(parsed)
        method = parser.get_method()
        # llhttp speaks RTSP and ICE too, takes two spaces for one, and does not tell.
        if not parsed.startswith(method + b" " + self._target + b" HTTP/"):
            raise Refused(400, "bad-request", "the request line should be METHOD target HTTP/1.1")
        return check_head(method, self._target, parser.get_http_version(), self._fields, upgrade)

    def _begin(self, head: Head, *, is_body_complete: bool) -> None:
        """Run the application for a request."""
        self.phase = _OPEN
        self._has_asked = True
        self._deadline_mono = _NEVER
        exchange = self._exchange = Exchange(self, head, is_body_complete)
        self._body_left = head.body_bytes
        self._fed_bytes = self._chunks = 0
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": head.version,
            "method": head.method,
            "scheme": self.server.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": self.server.root_path,
            "headers": head.fields.copy(),
            "client": self._client,
            "server": self._local,
            "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}, ON_LEAVE: exchange.on_leave}
            if head.takes_trailers
            else {"http.response.early_hint": {}, ON_LEAVE: exchange.on_leave},
        }
        self.server.start_application(exchange, scope)

    def _take_body(self, data: bytes) -> bytes:
        """Give the exchange what belongs to its body; return what follows it."""
        exchange = self._exchange
        assert exchange is not None, "a body belongs to a request"  # noqa: S101 - for mypy
        if self._body_left < 0:
            return self._take_chunks(exchange, data)
        part, rest = (data, b"") if len(data) <= self._body_left else (data[: self._body_left], data[self._body_left :])
        self._body_left -= len(part)
        if self._is_fed:
            self._parser.feed_data(part)
        else:
            exchange.feed(part)
            if self._body_left == 0:
                self.on_message_complete()
        return rest

    def _take_chunks(self, exchange: Exchange, data: bytes) -> bytes:
        """The same for a chunked body.

        llhttp does not tell where a body ends, and would read into the request behind it. It ends with an empty line, so
        llhttp gets the bytes up to one at a time; an empty line that has begun before them ends within the first three,
        and the last chunk's size may be the only thing that was there: then within four.
        """
        taken, size = 0, len(data)
        try:
            while taken < size and not exchange.is_body_complete:
                if taken < 4 and data[taken] in b"\r\n":
                    end = taken + 1
                else:
                    end = data.find(b"\r\n\r\n", taken) + 4
                    end = end if end >= 4 else size
                self._parser.feed_data(data[taken:end])
                taken = end
        except httptools.HttpParserError as error:
            self._refuse_body(Refused(400, "bad-request", f"the body can't be parsed: {error}"))
            return b""
        self._fed_bytes += taken
        framing_bytes = self._fed_bytes - exchange.received_bytes - self._chunks * _CHUNK_LINE_BYTES
        if framing_bytes > self.limits.framing_bytes:
            self._refuse_body(Refused(400, "bad-request", "the body's chunk extensions and trailers are too long"))
            return b""
        return data[taken:]

    def _upgrade(self, head: bytes, rest: bytes, query: bytes) -> None:
        """Hand the connection over to daphne's WebSocket protocol."""
        self.hand_over()
        self.server.begin_websocket(self.transport, head + rest, query)

    def _refuse_head(self, refused: Refused, data: bytes) -> None:
        request_id = next((value for name, value in self._fields if name == b"x-request-id"), b"")
        is_head = data.startswith(b"HEAD ")
        self.refuse(refused.status, refused.slug, refused.detail, request_id, is_head=is_head)

    def _refuse_body(self, refused: Refused) -> None:
        exchange = self._exchange
        if exchange is not None and exchange.is_committed:
            self.abort()
        else:
            self.refuse(refused.status, refused.slug, refused.detail)

    def _end(self, *, lingers: bool) -> None:
        """Close once everything is sent.

        A client that still sends would get a reset for it, and lose the answer: it is listened to for a moment
        (RFC 9112, 9.6).
        """
        self._unread = b""
        self._known = None
        self.outbox.release()
        self._stalls = True
        self._progress_mono = self.server.now_mono()
        self.phase = _LINGER
        self._set_deadline(self.limits.linger_s)
        if lingers and hasattr(self.transport, "loseWriteConnection"):
            self.release()
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self.limits.held_bytes and self.phase is _LINGER and self.is_reading:
            # Not `hold`: whether the client has left is of no interest any more, and our own end looks the same.
            self.is_reading = False
            self.transport.pauseProducing()

    # Time

    def _set_deadline(self, seconds: float) -> None:
        self._deadline_mono = self.check_mono = self.server.now_mono() + seconds

    def _on_queued(self) -> None:
        if not self._stalls:
            self._stalls = True
            self._progress_mono = self.server.now_mono()
            self._progress = (self.outbox.drained_bytes(), 0)
            self.check_mono = min(self.check_mono, self._progress_mono + 1.0)

    def _is_progressing(self, now_mono: float) -> bool:
        """Whether the client takes what waits for it, or has time left to begin."""
        # After the last answer what the kernel still has counts too: aborting would take it back.
        unacknowledged_bytes = self.outbox.unacknowledged_bytes() if self.phase is _LINGER else 0
        if not unacknowledged_bytes and not self.outbox.has_queued:
            self._stalls = False
            return True
        progress = (self.outbox.drained_bytes(), unacknowledged_bytes)
        if progress != self._progress:
            self._progress, self._progress_mono = progress, now_mono
        return now_mono - self._progress_mono < self.limits.write_s

    def _check_body(self, now_mono: float) -> None:
        exchange, limits = self._exchange, self.limits
        assert exchange is not None, "the caller has looked"  # noqa: S101 - for mypy
        passed_s, self._body_mono = now_mono - self._body_mono, now_mono
        if not self.is_reading or not exchange.is_body_wanted:
            self._deadline_mono += passed_s  # the application is slow, not the client
            return
        self._read_s += passed_s
        if self._read_s > limits.body_grace_s and exchange.received_bytes < self._read_s * limits.body_rate_bytes_per_s:
            self._deadline_mono = now_mono

    def _expire(self) -> None:
        if self.phase is _HEAD:
            self._count("head")
            self.refuse(408, "request-timeout", f"the head of the request took longer than {self.limits.head_s:g} s")
        elif self.phase is _OPEN:
            self._count("body")
            self._refuse_body(Refused(408, "request-timeout", "the body of the request came too slowly"))
        elif self.phase is _IDLE and not self._stalls:
            self._count("idle")
            self._end(lingers=False)
        elif self._stalls:
            self._deadline_mono = self.server.now_mono() + self.limits.linger_s  # it still takes the answer
        else:
            self.abort()

    def _count(self, phase: str) -> None:
        metrics.connections_timed_out.labels(phase).inc()
        level = logging.DEBUG if phase == "idle" else logging.INFO
        _logger.log(level, "connection.timed_out", extra={"phase": phase, "client": self._client[0]})

    # llhttp's callbacks

    def on_url(self, part: bytes) -> None:
        """A part of the target."""
        if self._exchange is not None:
            raise RuntimeError("a request was taken for the body of the one before")
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; request trailers come this way too, and nobody is to see them."""
        if self._exchange is None:
            self._fields.append((name.lower(), value.rstrip(b" \t")))

    def on_chunk_header(self) -> None:
        """The size line of a chunk."""
        self._chunks += 1

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if self._exchange is not None:
            self._exchange.feed(part)

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._is_message_complete = True
        if self._exchange is not None:
            self._exchange.end_body()
            self._deadline_mono = _NEVER
