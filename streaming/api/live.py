"""Live answers: SSE for EventSource, the protocol's SSE, NDJSON. Each iterates a feed; the hub will stand beside this."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from observability import metrics
from streaming.api.negotiation import Form
from streaming.api.problems import problem_document
from streaming.conf import StreamingSettings
from streaming.ends import EndReason
from streaming.errors import RequestError
from streaming.events import Event
from streaming.feed.reader import FeedReader, Run
from streaming.log.outcome import Page
from streaming.runtime import Runtime
from streaming.wire import ndjson, sse
from streaming.wire.content import ContentKind
from streaming.wire.corrupt import corrupt_problem
from streaming.wire.event_type import EVENT_CORRUPT, STREAM_GONE, STREAM_REWOUND

__all__ = ["live_response"]

logger = logging.getLogger("streamsite.api")


class Encoder(Protocol):
    """A live form: what is sent first, for each run, while nothing happens, and at a bad end."""

    content_type: str
    heartbeat: bytes

    def begin(self, settings: StreamingSettings, offset: str | None) -> bytes:
        """The first bytes.

        Args:
            offset: where the reader begins, when its address alone would not lead there again.
        """

    def run(self, run: Run) -> bytes:
        """The bytes of a run; of an empty one that closes too."""

    def problem(self, error: RequestError) -> bytes:
        """What says that it can't go on."""

    def goodbye(self, settings: StreamingSettings) -> bytes:
        """What says when to come back, to another process."""


class NativeSse:
    """What EventSource understands without help."""

    content_type = "text/event-stream"
    heartbeat = sse.HEARTBEAT

    def __init__(self, kind: ContentKind) -> None:
        self._kind = kind

    def begin(self, settings: StreamingSettings, offset: str | None) -> bytes:
        """Tell when to come back, and where."""
        return _retry(settings, offset)

    def run(self, run: Run) -> bytes:
        """A frame for each event; a closed stream just ends, and the next connection is told to stop by a 204."""
        return b"".join(run.frames(Form.NATIVE_SSE.value, self._encode))

    def problem(self, error: RequestError) -> bytes:
        """An event of a type that no append can have."""
        name = STREAM_REWOUND if error.slug in ("stream-rewound", "offset-gone", "bad-offset") else STREAM_GONE
        return sse.problem(name, problem_document(error))

    def goodbye(self, settings: StreamingSettings) -> bytes:
        """A new jitter: the readers of a process that stops come back at different times."""
        return _retry(settings, None)

    def _encode(self, event: Event) -> bytes:
        return sse.encode_native(event, self._kind)


class ProtocolSse:
    """A data event for each run, a control event behind each (Durable Streams 5.8)."""

    content_type = "text/event-stream"
    heartbeat = sse.HEARTBEAT

    def __init__(self, kind: ContentKind, cursor: str) -> None:
        self._kind = kind
        self._cursor = cursor

    def begin(self, settings: StreamingSettings, offset: str | None) -> bytes:
        """Tell EventSource, which reads this form too, when and where to come back; the protocol's clients pass over it."""
        return _retry(settings, offset)

    def run(self, run: Run) -> bytes:
        """The run's data, cut at damaged events, each part with its control event."""
        parts: list[bytes] = []
        sound: list[Event] = []
        for event in run.events:
            if not event.is_corrupt:
                sound.append(event)
                continue
            if sound:
                parts += (
                    sse.encode_data(sound, self._kind),
                    sse.encode_control(sound[-1].offset, self._cursor, False, False),
                )
                sound = []
            parts.append(sse.problem(EVENT_CORRUPT, corrupt_problem(event.offset), offset=event.offset))
        parts.append(sse.encode_data(sound, self._kind))
        parts.append(sse.encode_control(run.next_offset, self._cursor, run.is_up_to_date, run.is_closed))
        return b"".join(parts)

    def problem(self, error: RequestError) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: the protocol's clients come back with their offset, and are answered by a status."""
        return b""

    def goodbye(self, settings: StreamingSettings) -> bytes:
        """As in the native form."""
        return _retry(settings, None)


class LiveNdjson:
    """An object a line."""

    content_type = "application/x-ndjson"
    heartbeat = ndjson.HEARTBEAT

    def __init__(self, kind: ContentKind) -> None:
        self._kind = kind

    def begin(self, settings: StreamingSettings, offset: str | None) -> bytes:  # noqa: ARG002 - the protocol's signature
        """An empty line, so that the header and a first byte go out at once."""
        return ndjson.HEARTBEAT

    def run(self, run: Run) -> bytes:
        """A line for each event; the last line of a closed stream says so."""
        lines = b"".join(run.frames(Form.NDJSON_LIVE.value, self._encode))
        return lines + ndjson.closed(run.next_offset) if run.is_closed else lines

    def problem(self, error: RequestError) -> bytes:
        """A line with `error`."""
        return ndjson.problem(problem_document(error))

    def goodbye(self, settings: StreamingSettings) -> bytes:  # noqa: ARG002 - the protocol's signature
        """Nothing: the form has no place for it, and its clients resume at the end of an answer."""
        return b""

    def _encode(self, event: Event) -> bytes:
        return ndjson.encode_line(event, self._kind)


def _retry(settings: StreamingSettings, offset: str | None) -> bytes:
    """Spread out, so that the readers of a restarted site don't come all at once."""
    return sse.retry(int(settings.sse_retry_ms * random.uniform(1.0, 1.5)), offset=offset)  # noqa: S311 - jitter


def live_response(
    request: HttpRequest, site: Runtime, name: str, page: Page, form: Form, cursor: str, *, is_from_start: bool
) -> HttpResponseBase:
    """Answer with a page and all that follows it.

    EventSource repeats its address, which `now` and `tail` lead elsewhere each time: so it is given its place before any
    event. One that begins at the start needs none, and goes on with what is created anew or trimmed meanwhile; unless the
    stream is closed and empty, for a reader that comes back to the end of a closed stream by Last-Event-ID is told to stop:
    204 is what EventSource obeys (WHATWG HTML 9.2.3).
    """
    kind = ContentKind.of(page.state.content_type)
    has_nothing = page.is_end and not page.events
    if has_nothing and (form is Form.NATIVE_SSE or (form is Form.SSE and request.headers.get("Last-Event-ID"))):
        response: HttpResponseBase = HttpResponse(status=204)
        response["Stream-Next-Offset"] = page.next_offset
        response["Stream-Closed"] = "true"
        response["Cache-Control"] = "no-store"
        return response
    encoder: Encoder
    if form is Form.SSE:
        encoder = ProtocolSse(kind, cursor)
    else:
        encoder = NativeSse(kind) if form is Form.NATIVE_SSE else LiveNdjson(kind)
    begin = encoder.begin(site.settings, None if is_from_start and not has_nothing else page.start_offset)
    response = StreamingHttpResponse(
        _deliver(site, name, page, form, encoder, begin), content_type=encoder.content_type
    )
    response["Cache-Control"] = "no-cache, no-transform"
    response["X-Accel-Buffering"] = "no"
    if form is Form.SSE and kind is ContentKind.BINARY:
        response["Stream-SSE-Data-Encoding"] = "base64"
    return response


async def _deliver(
    site: Runtime, name: str, page: Page, form: Form, encoder: Encoder, begin: bytes
) -> AsyncIterator[bytes]:
    settings = site.settings
    gauge = metrics.readers.labels(form.value)
    events_out, bytes_out = metrics.events_out.labels(form.value), metrics.bytes_out.labels(form.value)
    reader = FeedReader(
        site.log, site.follower, name, page.next_offset, settings.page_bytes, settings.heartbeat_s, settings.sse_max_s
    )
    gauge.inc()
    try:
        first = Run.of_page(page)
        data = begin + encoder.run(first)
        events_out.inc(len(first.events))
        bytes_out.inc(len(data))
        yield data
        if page.is_end:
            reader.end_closed()
            return
        async with aclosing(reader.runs()) as runs:
            async for run in runs:
                if run is None:
                    yield encoder.heartbeat
                    continue
                data = encoder.run(run)
                events_out.inc(len(run.events))
                bytes_out.inc(len(data))
                if data:
                    yield data
        if reader.reason is EndReason.DRAINED and (goodbye := encoder.goodbye(settings)):
            yield goodbye
        if reader.problem is not None and (report := encoder.problem(reader.problem)):
            yield report
    except Exception:
        reader.end_failed()
        logger.exception("reader.failed", extra={"stream": name, "form": form.value})
        raise
    finally:
        gauge.dec()
        metrics.readers_ended.labels(reader.reason.value).inc()
        logger.info(
            "reader.ended",
            extra={"stream": name, "form": form.value, "reason": reader.reason.value, "offset": reader.position},
        )
