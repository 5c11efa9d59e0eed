"""Reading what is there: catch-up, long-poll, an NDJSON page; what goes on is in `live.py`."""

from __future__ import annotations

import random
import time
from contextlib import aclosing

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from observability import metrics
from streaming.api.live import live_response
from streaming.api.negotiation import Form, form_of
from streaming.api.requests import integer_parameter, offset_of, parameter
from streaming.api.responses import page_headers
from streaming.errors import ProblemError, RequestError
from streaming.events import Event
from streaming.feed.reader import FeedReader, Run
from streaming.log.outcome import Page
from streaming.offsets import NOW, START, ZERO
from streaming.runtime import Runtime
from streaming.wire import ndjson
from streaming.wire.content import ContentKind
from streaming.wire.cursor import next_cursor
from streaming.wire.raw import encode_body

__all__ = ["cursor_of", "read"]

SHARED_CACHE = "public, max-age=60, stale-while-revalidate=300"
"""For what never changes (Durable Streams 10.1)."""
_DOWNLOADED = frozenset(
    {"text/html", "image/svg+xml", "application/xhtml+xml", "application/octet-stream", "text/xml", "application/xml"}
)
"""Opened as a page they would run as one: they are offered as a file instead."""


async def read(request: HttpRequest, site: Runtime, name: str) -> HttpResponseBase:
    """Answer a GET in the form that it asks for.

    Raises: RequestError, StoreError.
    """
    live = parameter(request, "live")
    last = integer_parameter(request, "tail", site.settings.max_tail) or 0
    offset = offset_of(request)
    if last and offset is not None and not request.headers.get("Last-Event-ID"):
        raise RequestError(400, "bad-parameter", "tail and offset exclude each other; send one")
    is_resumed = bool(request.headers.get("Last-Event-ID"))
    if is_resumed:
        last = 0
    if live in ("long-poll", "sse") and offset is None and not last:
        raise RequestError(400, "bad-parameter", f"live={live} needs an offset; {START} is the start, now the end")
    page = await site.log.read(name, offset or START, site.settings.page_bytes, last=last)
    form = form_of(request, page.state.media)
    # What the address alone does not name must not be stored under it: a cache would give it to others.
    is_private = offset == NOW or bool(last) or is_resumed
    if form is Form.CATCH_UP:
        response = _catch_up(request, page, is_private=is_private)
    elif form is Form.NDJSON_PAGE:
        response = _ndjson_page(page)
    elif form is Form.LONG_POLL:
        response = await _long_poll(request, site, name, page, is_private=is_private)
    else:
        is_from_start = offset in (None, START, ZERO) and not last
        response = live_response(request, site, name, page, form, cursor_of(request), is_from_start=is_from_start)
    if live is None:
        response["Vary"] = "Accept"
    return response


def cursor_of(request: HttpRequest) -> str:
    """The cursor of a live answer (Durable Streams 10.1)."""
    return next_cursor(parameter(request, "cursor"), time.time(), lambda: random.uniform(1, 3600))  # noqa: S311 - jitter


def _catch_up(request: HttpRequest, page: Page, *, is_private: bool) -> HttpResponseBase:
    etag = f'"{page.start_offset}:{page.next_offset}{":c" if page.is_end else ""}"'
    if not is_private and _is_known(request, etag):
        response = HttpResponse(status=304)
        response["ETag"] = etag
        response["Cache-Control"] = SHARED_CACHE  # as the 200 would have it (RFC 9110, 15.4.5)
        page_headers(response, page)
        return response
    return _body_response(page, etag, is_private=is_private)


def _is_known(request: HttpRequest, etag: str) -> bool:
    """Whether If-None-Match names the entity tag (RFC 9110, 13.1.2)."""
    known = {part.strip().removeprefix("W/") for part in request.headers.get("If-None-Match", "").split(",")}
    return etag in known or "*" in known


def _body_response(page: Page, etag: str, *, is_private: bool) -> HttpResponse:
    kind = ContentKind.of(page.state.content_type)
    events = _sound(page)
    response = HttpResponse(encode_body(events, kind), content_type=page.state.content_type)
    if len(events) < len(page.events):
        page = Page(page.state, events, page.start_offset, events[-1].offset, is_up_to_date=False)
        is_private = True
    page_headers(response, page)
    if is_private:
        response["Cache-Control"] = "no-store"
    else:
        response["ETag"] = etag
        response["Cache-Control"] = SHARED_CACHE
    if page.state.media in _DOWNLOADED:
        response["Content-Disposition"] = "attachment"
        response["Content-Security-Policy"] = "sandbox"
    metrics.events_out.labels(Form.CATCH_UP.value).inc(len(events))
    metrics.bytes_out.labels(Form.CATCH_UP.value).inc(len(response.content))
    return response


def _sound(page: Page) -> list[Event]:
    """The events up to the first damaged one.

    Raises: ProblemError: the first one is; raw bytes have no other place to say so.
    """
    sound: list[Event] = []
    for event in page.events:
        if event.is_corrupt:
            if sound:
                break
            detail = f"the event {event.offset} is damaged in the store and can't be delivered; go on from its offset"
            members = {"offset": event.offset}
            raise ProblemError(
                500, "event-corrupt", detail, headers={"Stream-Next-Offset": event.offset}, members=members
            )
        sound.append(event)
    return sound


def _ndjson_page(page: Page) -> HttpResponseBase:
    kind = ContentKind.of(page.state.content_type)
    response = HttpResponse(
        b"".join(ndjson.encode_line(event, kind) for event in page.events), content_type="application/x-ndjson"
    )
    page_headers(response, page)
    response["Cache-Control"] = "no-store"
    metrics.events_out.labels(Form.NDJSON_PAGE.value).inc(len(page.events))
    metrics.bytes_out.labels(Form.NDJSON_PAGE.value).inc(len(response.content))
    return response


async def _long_poll(
    request: HttpRequest, site: Runtime, name: str, page: Page, *, is_private: bool
) -> HttpResponseBase:
    cursor = cursor_of(request)
    if not page.events and not page.is_end:
        page = await _next_page(site, name, page)
    if page.events:
        etag = f'"{page.start_offset}:{page.next_offset}{":c" if page.is_end else ""}"'
        response = _body_response(page, etag, is_private=is_private)
    else:
        response = HttpResponse(status=204)
        page_headers(response, page)
        response["Stream-Up-To-Date"] = "true"
        response["Cache-Control"] = "no-store"
    response["Stream-Cursor"] = cursor
    return response


async def _next_page(site: Runtime, name: str, page: Page) -> Page:
    """Wait for what follows a page, as long as a long-poll may."""
    settings = site.settings
    reader = FeedReader(
        site.log, site.follower, name, page.next_offset, settings.page_bytes, settings.long_poll_s, settings.long_poll_s
    )
    metrics.readers.labels(Form.LONG_POLL.value).inc()
    try:
        async with aclosing(reader.runs()) as runs:
            async for run in runs:
                if run is not None and (run.events or run.is_closed):
                    return _page_of(page, run)
    finally:
        metrics.readers.labels(Form.LONG_POLL.value).dec()
    if reader.problem is not None:
        raise reader.problem
    return page


def _page_of(page: Page, run: Run) -> Page:
    state = page.state
    if run.is_closed:
        state = state.closed()
    return Page(state, run.events, page.next_offset, run.next_offset, run.is_up_to_date)
