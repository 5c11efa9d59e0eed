"""One HTTP/2 connection: h2 on Twisted's transport, many requests at a time.

    dataReceived ──▶ Frames: floods are weighed, frames become events ──▶ gate ──▶ Stream, with an Exchange and its task
    Exchange ──▶ Stream ──▶ pump: in turns, as far as windows and transport go ──▶ Outbox

Twisted's own HTTP/2 connection, which daphne uses, was tried first. It answers without waiting for the client, takes a
request's whole body before it begins, ends the connection by an exception where a body comes after its answer, keeps
PRIORITY frames for ever, knows one flood of six, and sends one frame in a pass of the event loop; to correct that is to
replace all of it.

Priorities are not kept (RFC 9113, 5.3 has deprecated them): streams take turns.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from h2.connection import ConnectionState
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from hyperframe.frame import GoAwayFrame

from observability import metrics
from streamsite.types import ON_LEAVE, Scope

from .gate import Refused
from .http2_frames import Flood, Frames
from .http2_head import check_fields
from .http2_stream import Fields, Stream
from .outbox import Outbox

if TYPE_CHECKING:
    from .limits import Limits
    from .server import Server

__all__ = ["Http2Connection"]

FRAME_BYTES = 16 * 1024
"""Of a data frame, whatever the client allows: other streams wait for its end."""
DRAIN_NOTICE_S = 1.0
"""Between the first GOAWAY, which announces the end, and the second, from which on requests are refused: what is under
way in between is served (RFC 9113, 6.8)."""

_NEVER = float("inf")
_LAST_STREAM = 2**31 - 1
_ASGI = {"version": "3.0", "spec_version": "2.4"}

_logger = logging.getLogger("streamsite.server")


class _Outbox(Outbox):
    """Tells the connection, too, when there is room again."""

    __slots__ = ("_on_room",)

    def __init__(self, transport: Any, on_queued: Callable[[], None], on_room: Callable[[], None]) -> None:
        super().__init__(transport, on_queued)
        self._on_room = on_room

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted names it
        """The buffer is empty."""
        super().resumeProducing()
        self._on_room()


class Http2Connection:
    """One connection, as Twisted's protocol.

    Args:
        server: that it belongs to.
    """

    __slots__ = (
        "_client", "_deadline_mono", "_discarded", "_drain_mono", "_excess_bytes", "_frames", "_has_settings",
        "_is_leaving", "_is_lost", "_is_over", "_is_refusing", "_local", "_progress", "_progress_mono", "_ready",
        "_streams", "_unwanted", "check_mono", "is_reading", "limits", "outbox", "server", "transport",
    )  # fmt: skip

    transport: Any
    outbox: _Outbox

    def __init__(self, server: Server) -> None:
        self.server = server
        self.limits: Limits = server.limits
        self.check_mono = _NEVER
        self.is_reading = True
        self._frames = Frames(self.limits, server.now_mono)
        self._streams: dict[int, Stream] = {}
        self._ready: deque[Stream] = deque()
        self._unwanted: dict[int, tuple[float, int]] = {}  # streams whose answer is sent, and whose body still comes
        self._has_settings = False
        self._is_leaving = False  # no request will follow; the connection ends with the last stream
        self._is_refusing = False  # the last GOAWAY is sent
        self._is_over = False
        self._is_lost = False
        self._excess_bytes = 0
        self._discarded = 0
        self._drain_mono = _NEVER
        self._deadline_mono = _NEVER
        self._progress = 0
        self._progress_mono = _NEVER

    # What Twisted calls

    def makeConnection(self, transport: Any) -> None:  # noqa: N802 - Twisted names it
        """The TLS handshake has agreed on HTTP/2."""
        self.transport = transport
        self.outbox = _Outbox(transport, self._on_queued, self._on_room)
        peer, host = transport.getPeer(), transport.getHost()
        self._client = (peer.host, peer.port)
        self._local = (host.host, host.port)
        self._set_deadline(self.limits.head_s)
        self.server.on_connected(self)
        self._frames.start()
        self._flush()
        if self.server.is_draining:
            self.begin_drain()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted names it
        """Bytes came."""
        self.check_mono = 0.0  # as in Connection: a reset that came with them is told by nothing else
        if self._is_over:
            self._discard(data)
            return
        try:
            for event in self._frames.receive_data(data):
                handler = _HANDLERS.get(type(event))
                if handler is not None and not self._is_over:
                    handler(self, event)
            self._pump()
            self._flush()
        except Flood as flood:
            self._calm(flood)
        except ProtocolError as error:
            _logger.info("connection.broken", extra={"client": self._client[0], "reason": str(error)[:200]})
            self._frames.clear_outbound_data_buffer()  # with a GOAWAY of h2's own
            self._end(error.error_code)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802, ARG002 - Twisted names it
        """The connection is gone, for whatever reason."""
        self._is_over = self._is_lost = True
        self.check_mono = _NEVER
        self.server.on_disconnected(self)
        self._leave_all()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted names it
        """For Twisted's own log."""
        return "streamsite"

    # What the server and the watch call

    def begin_drain(self) -> None:
        """Take no more requests but those that are on their way, and end with the last answer."""
        if self._is_over or self._is_leaving:
            return
        if not self._streams:
            self._end(ErrorCodes.NO_ERROR)
            return
        self._is_leaving = True
        self._go_away(ErrorCodes.NO_ERROR, _LAST_STREAM)
        self._drain_mono = self.server.now_mono() + DRAIN_NOTICE_S
        self.check_mono = min(self.check_mono, self._drain_mono)

    def close_if_idle(self) -> None:
        """Close if no request is under way."""
        if not self._streams:
            self._end(ErrorCodes.NO_ERROR)

    def abort(self) -> None:
        """Break the connection, and every answer on it."""
        if not self._is_lost:
            self._is_over = True
            self._leave_all()
            self.outbox.release()
            self.transport.abortConnection()

    def check(self, now_mono: float) -> None:
        """See whether the client is there and a time limit is over; set when to look again."""
        if self.outbox.is_reset():
            self.abort()
            self.check_mono = _NEVER
            return
        if now_mono >= self._deadline_mono:
            self._expire()
            return
        is_watched = self._check_progress(now_mono) or bool(self._unwanted)
        try:
            for stream in list(self._streams.values()):
                is_watched |= not stream.is_over and stream.check(now_mono)
            self._reset_unwanted(now_mono)
            if now_mono >= self._drain_mono:
                self._drain_mono = _NEVER
                self._is_refusing = True
                self._go_away(ErrorCodes.NO_ERROR, self._frames.highest_inbound_stream_id)
            self._flush()
        except Flood as flood:
            self._calm(flood)
        self.check_mono = min(self._deadline_mono, self._drain_mono, now_mono + 1.0 if is_watched else _NEVER)

    # What a stream calls

    def send_fields(self, stream: Stream, fields: Fields, *, ends: bool) -> None:
        """Send a header; with `ends`, it is the whole answer."""
        if stream.is_over or self._is_over:
            return
        self._frames.send_headers(stream.number, fields, end_stream=ends)
        if ends:
            self._finish(stream)
        self._flush()

    def queue(self, stream: Stream) -> None:
        """Send what the stream has, as soon as it can be."""
        if not stream.is_queued:
            stream.is_queued = True
            self._ready.append(stream)
        try:
            self._pump()
        except Flood as flood:
            self._calm(flood)
        if stream.is_full:
            self.look_soon()

    def acknowledge(self, stream: Stream, size: int) -> None:
        """Open the windows again for as much as was taken."""
        if not self._is_over:
            self._frames.acknowledge_received_data(size, stream.number)
            self._flush()

    def reset(self, stream: Stream, code: ErrorCodes) -> None:
        """Break one stream off; the others go on."""
        if stream.is_over or self._is_over:
            return
        self._frames.reset_stream(stream.number, code)
        self._forget(stream)
        stream.leave()
        self._flush()
        if code is not ErrorCodes.INTERNAL_ERROR:
            self._count_reset()

    def look_soon(self) -> None:
        """Let the watch look after this connection."""
        self.check_mono = min(self.check_mono, self.server.now_mono() + 1.0)

    def count_timeout(self, phase: str) -> None:
        """Note that a time limit was over."""
        metrics.connections_timed_out.labels(phase).inc()
        level = logging.DEBUG if phase == "idle" else logging.INFO
        _logger.log(level, "connection.timed_out", extra={"phase": phase, "client": self._client[0]})

    # Events

    def _on_request(self, event: RequestReceived) -> None:
        if self._is_refusing:
            self._frames.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = self._streams[event.stream_id] = Stream(self, event.stream_id)
        self._deadline_mono = _NEVER
        fields: Any = event.headers  # bytes, as no encoding was asked for
        try:
            head, announced_bytes = check_fields(fields, self.limits)
        except Refused as refused:
            request_id = next((value for name, value in fields if name == b"x-request-id"), b"")
            stream.refuse(refused.status, refused.slug, refused.detail, request_id)
            return
        exchange = stream.start(head, announced_bytes, is_body_complete=event.stream_ended is not None)
        if exchange is None:
            return
        scope: Scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": "2",
            "method": head.method,
            "scheme": self.server.scheme,
            "path": head.path,
            "raw_path": head.raw_path,
            "query_string": head.query,
            "root_path": self.server.root_path,
            "headers": head.fields,
            "client": self._client,
            "server": self._local,
            "extensions": {"http.response.early_hint": {}, "http.response.trailers": {}, ON_LEAVE: exchange.on_leave}
            if head.takes_trailers
            else {"http.response.early_hint": {}, ON_LEAVE: exchange.on_leave},
        }
        self.server.start_application(exchange, scope)

    def _on_data(self, event: DataReceived) -> None:
        size = event.flow_controlled_length or 0
        stream = self._streams.get(event.stream_id)
        if event.stream_id in self._unwanted:
            until_mono, before = self._unwanted[event.stream_id]
            self._unwanted[event.stream_id] = (until_mono, before + size)
        elif stream is None:
            self._frames.acknowledge_received_data(size, event.stream_id)
        else:
            stream.feed(event.data or b"", size)

    def _on_stream_ended(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is not None:
            stream.end_body()
        else:
            self._drop_unwanted(event.stream_id or 0)

    def _on_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id or 0)
        if stream is not None:
            self._forget(stream)
            stream.leave()
        else:
            self._drop_unwanted(event.stream_id or 0)
        if not event.remote_reset:
            self._frames.on_reset()  # the client made h2 do it

    def _on_window_updated(self, event: WindowUpdated) -> None:
        if event.stream_id:
            self._requeue(self._streams.get(event.stream_id))
        else:
            self._requeue_all()

    def _on_settings(self, event: RemoteSettingsChanged) -> None:  # noqa: ARG002 - called as all of them
        if not self._has_settings:
            self._has_settings = True
            if not self._streams:
                self._set_deadline(self.limits.idle_s)
        self._requeue_all()

    def _on_goaway(self, event: ConnectionTerminated) -> None:
        """The client opens no more streams; those it has opened go on, which h2 does not provide for."""
        if event.error_code is not ErrorCodes.NO_ERROR or not self._streams:
            self._end(ErrorCodes.NO_ERROR)
        else:
            self._is_leaving = True
            self._frames.state_machine.state = ConnectionState.CLIENT_OPEN

    # The way of the bytes

    def _pump(self) -> None:
        """Send what streams have, a frame each in turn."""
        ready, frames = self._ready, self._frames
        while ready and not self.outbox.is_full and not self._is_over:
            stream = ready.popleft()
            stream.is_queued = False
            if stream.is_over or not stream.has_work():
                continue
            window = frames.local_flow_control_window(stream.number)
            if stream.is_full:
                if window <= 0:
                    continue  # until the client opens it
                if stream.is_dribbled(window):
                    frames.on_control()
            elif trailers := stream.take_trailers():
                frames.send_headers(stream.number, trailers, end_stream=True)
                self._finish(stream)
                self._flush()
                continue
            data, ends = stream.take(min(window, FRAME_BYTES))
            frames.send_data(stream.number, data, end_stream=ends)
            frames.on_data_sent()
            stream.progress_mono = self.server.now_mono()
            if ends:
                self._finish(stream)
            elif stream.has_work():
                stream.is_queued = True
                ready.append(stream)
            self._flush()

    def _flush(self) -> None:
        """Give the transport what h2 has made."""
        data = self._frames.data_to_send()
        if not data or self._is_over:
            return
        self.outbox.write(data)
        if self.outbox.is_full:
            # Only what no window holds back: headers, acknowledgements. Who does not read is not read from.
            self._excess_bytes += len(data)
            if self._excess_bytes > self.limits.held_bytes and self.is_reading:
                self.is_reading = False
                self.transport.pauseProducing()
                self.server.watch.look_after(self)

    def _on_room(self) -> None:
        self._excess_bytes = 0
        if self._is_over:
            return
        if not self.is_reading:
            self.is_reading = True
            self.server.watch.forget(self)
            self.transport.resumeProducing()
        try:
            self._pump()
        except Flood as flood:
            self._calm(flood)

    def _on_queued(self) -> None:
        if self._progress_mono == _NEVER:
            self._progress_mono = self.server.now_mono()
            self._progress = self.outbox.drained_bytes()
            self.look_soon()

    def _requeue(self, stream: Stream | None) -> None:
        if stream is not None and not stream.is_queued and stream.has_work():
            stream.is_queued = True
            self._ready.append(stream)

    def _requeue_all(self) -> None:
        for stream in self._streams.values():
            self._requeue(stream)

    def _finish(self, stream: Stream) -> None:
        """The answer is sent; a body that still comes is for nobody, and the client is told (RFC 9113, 8.1).

        Not at once: curl 7.88 forgets an answer that it has not read by then. Its window stays closed meanwhile.
        """
        exchange = stream.exchange
        is_body_complete = exchange is None or exchange.is_body_complete
        stream.finish()
        if not is_body_complete:
            self._unwanted[stream.number] = (self.server.now_mono() + self.limits.linger_s, 0)
            self.look_soon()
        self._forget(stream)

    def _reset_unwanted(self, now_mono: float) -> None:
        for number, (until_mono, size) in list(self._unwanted.items()):
            if now_mono >= until_mono:
                del self._unwanted[number]
                self._frames.reset_stream(number, ErrorCodes.NO_ERROR)
                self._frames.acknowledge_received_data(size, number)

    def _drop_unwanted(self, number: int) -> None:
        """The client has ended the body by itself."""
        _, size = self._unwanted.pop(number, (0.0, 0))
        if size:
            self._frames.acknowledge_received_data(size, number)

    # The end of streams and of the connection

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        if not self._streams and not self._is_over:
            if self._is_leaving:
                self._end(ErrorCodes.NO_ERROR)
            else:
                self._set_deadline(self.limits.idle_s)

    def _leave_all(self) -> None:
        streams, self._streams = self._streams, {}
        self._ready.clear()
        for stream in streams.values():
            stream.leave()

    def _count_reset(self) -> None:
        try:
            self._frames.on_reset()
        except Flood as flood:
            self._calm(flood)

    def _calm(self, flood: Flood) -> None:
        """End a connection that floods us."""
        metrics.connections_flooding.labels(flood.kind).inc()
        _logger.warning("connection.flooded", extra={"kind": flood.kind, "client": self._client[0]})
        self._frames.clear_outbound_data_buffer()
        self._end(ErrorCodes.ENHANCE_YOUR_CALM)

    def _go_away(self, code: ErrorCodes | int, last_stream: int) -> None:
        """Send GOAWAY; h2's own ends all streams, which are to go on."""
        self._flush()
        frame = GoAwayFrame(0)
        frame.error_code = code
        frame.last_stream_id = last_stream
        self.outbox.write(frame.serialize())

    def _end(self, code: ErrorCodes | int) -> None:
        """Say why, and close once it is sent; the client is listened to for a moment, or it would lose the reason."""
        if self._is_over:
            return
        self._go_away(code, self._frames.highest_inbound_stream_id)
        self._is_over = True
        self._leave_all()
        self.outbox.release()
        if not self.is_reading:
            self.is_reading = True
            self.server.watch.forget(self)
            self.transport.resumeProducing()
        self._set_deadline(self.limits.linger_s)
        self.transport.loseWriteConnection()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > self.limits.held_bytes and self.is_reading:
            self.is_reading = False
            self.transport.pauseProducing()

    # Time

    def _set_deadline(self, seconds: float) -> None:
        self._deadline_mono = self.server.now_mono() + seconds
        self.check_mono = min(self.check_mono, self._deadline_mono)

    def _check_progress(self, now_mono: float) -> bool:
        """See whether the transport gets on; whether something waits for it."""
        if not self.outbox.has_queued:
            self._progress_mono = _NEVER
            return False
        progress = self.outbox.drained_bytes()
        if progress != self._progress:
            self._progress, self._progress_mono = progress, now_mono
        elif now_mono - self._progress_mono >= self.limits.write_s:
            self.count_timeout("write")
            self.abort()
        return True

    def _expire(self) -> None:
        if self._is_over:
            self.abort()
            return
        self.count_timeout("idle" if self._has_settings else "head")
        self._end(ErrorCodes.NO_ERROR)


_HANDLERS: dict[type[Event], Callable[[Http2Connection, Any], None]] = {
    RequestReceived: Http2Connection._on_request,
    DataReceived: Http2Connection._on_data,
    StreamEnded: Http2Connection._on_stream_ended,
    StreamReset: Http2Connection._on_reset,
    WindowUpdated: Http2Connection._on_window_updated,
    RemoteSettingsChanged: Http2Connection._on_settings,
    ConnectionTerminated: Http2Connection._on_goaway,
}
