"""/v1/stream/<name>: create, append, close, delete, metadata; reading is in `reads.py` and `live.py`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from streaming import runtime
from streaming.access.door import check_open
from streaming.api.problems import with_problems
from streaming.api.reads import read
from streaming.api.requests import (
    content_type_of,
    create_request,
    durability_of,
    event_type_of,
    is_closing,
    prefix_of,
    producer_of,
    raw_path_of,
    stream_name_from,
    stream_seq_of,
    traceparent_of,
)
from streaming.api.responses import finish, state_headers
from streaming.conf import StreamingSettings
from streaming.errors import RequestError
from streaming.log.forks import create_fork
from streaming.log.log import DEFAULT_CONTENT_TYPE
from streaming.log.outcome import AppendRequest
from streaming.log.pages import media_of
from streaming.log.refusals import counted_appends
from streaming.runtime import Runtime

__all__ = ["stream"]

METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS"
NDJSON_MEDIA = frozenset({"application/x-ndjson", "application/ndjson"})


async def stream(request: HttpRequest, name: str) -> HttpResponseBase:
    """Answer for one stream, by method."""
    settings = runtime.settings()
    response = await _answer(request, settings, name)
    return finish(request, response, settings, METHODS)


# The lean handler calls it before the body is there: what the header alone decides is answered without reading it.
stream.receives_body = True  # type: ignore[attr-defined]


@with_problems
async def _answer(request: HttpRequest, settings: StreamingSettings, matched: str) -> HttpResponseBase:
    with counted_appends() if request.method == "POST" else nullcontext():
        return await _handle(request, settings, matched)


async def _handle(request: HttpRequest, settings: StreamingSettings, matched: str) -> HttpResponseBase:
    check_open(settings, request)
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers={"Allow": METHODS})
    site = await runtime.serving()
    handler = {"GET": read, "HEAD": _describe, "POST": _append, "DELETE": _delete}.get(request.method or "")
    name = stream_name_from(request, matched)
    if request.method == "PUT":
        return await _create(request, site, name, prefix_of(request, matched))
    if handler is None:
        detail = f"{request.method} is not allowed here; there are {METHODS}"
        raise RequestError(405, "method-not-allowed", detail, headers={"Allow": METHODS})
    return await handler(request, site, name)


async def _create(request: HttpRequest, site: Runtime, name: str, prefix: str) -> HttpResponseBase:
    wanted = create_request(request, prefix)
    body = await _body(request, site)
    if body:
        content_type = wanted.content_type
        if not content_type and wanted.fork:
            content_type = (await site.log.state(wanted.fork.source)).content_type
        events = site.appender.events(
            body, content_type or DEFAULT_CONTENT_TYPE, event_type_of(request), traceparent_of(request), is_create=True
        )
        wanted = replace(wanted, events=events)
    created = await (create_fork(site.log, name, wanted, wanted.fork) if wanted.fork else site.log.create(name, wanted))
    response = HttpResponse(status=201 if created.is_new else 200, content_type=created.content_type)
    response["Stream-Next-Offset"] = created.tail_offset
    if created.is_closed:
        response["Stream-Closed"] = "true"
    if created.is_new:
        response["Location"] = _location(request)
    return response


def _location(request: HttpRequest) -> str:
    """The stream's address, with its host where that is one of ours: the stream is made by now, and an answer is due."""
    path = raw_path_of(request).decode("latin-1")
    try:
        return request.build_absolute_uri(path)
    except DisallowedHost:
        return path


async def _append(request: HttpRequest, site: Runtime, name: str) -> HttpResponseBase:
    close, producer, stream_seq = is_closing(request), producer_of(request), stream_seq_of(request)
    durability = durability_of(request)
    body = await _body(request, site)
    if not body:
        if not close:
            raise RequestError(
                400, "empty-body", "an append needs a body; only with Stream-Closed: true may it be empty"
            )
        asked = AppendRequest((), "", True, producer, stream_seq)
    else:
        content_type = content_type_of(request)
        if not content_type:
            raise RequestError(400, "bad-header", "an append with a body needs a Content-Type, the stream's")
        media = media_of(content_type)
        type_, traceparent = event_type_of(request), traceparent_of(request)
        if media in NDJSON_MEDIA and (await site.log.state(name)).media == "application/json":
            events, media = site.appender.ndjson_events(body, type_, traceparent), "application/json"
        else:
            events = site.appender.events(body, content_type, type_, traceparent)
        asked = AppendRequest(events, media, close, producer, stream_seq)
    done = await site.log.append(name, asked, durability=durability)
    response = HttpResponse(status=200 if producer and not done.is_duplicate else 204)
    if producer and body == b"" and close:
        response.status_code = 204
    if done.offset:
        response["Stream-Next-Offset"] = done.offset
    if done.is_closed:
        response["Stream-Closed"] = "true"
    if producer:
        response["Producer-Epoch"] = str(done.producer_epoch)
        response["Producer-Seq"] = str(done.producer_seq)
    response["Stream-Durability"] = str(done.durability)
    return response


async def _delete(_request: HttpRequest, site: Runtime, name: str) -> HttpResponseBase:
    await site.log.delete(name)
    return HttpResponse(status=204)


async def _describe(_request: HttpRequest, site: Runtime, name: str) -> HttpResponseBase:
    response = HttpResponse()
    state_headers(response, await site.log.state(name))
    return response


async def _body(request: HttpRequest, site: Runtime) -> bytes:
    """The request's body, for which the lean handler has not waited yet; under Django's own it is there.

    Raises: RequestError: too large, or compressed.
    """
    if (encoding := request.headers.get("Content-Encoding", "").strip().lower()) not in ("", "identity"):
        detail = f"a body in Content-Encoding {encoding[:64]!r} is not taken; send it as it is, without the field"
        raise RequestError(415, "encoded-body", detail)
    if (receive := getattr(request, "receive_body", None)) is not None:
        received: bytes = await receive()
        return received
    limit = site.settings.max_body_bytes
    too_large = RequestError(413, "too-large", f"the body is larger than {limit} bytes; send it in several appends")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length) > limit:
        raise too_large
    body = request.read(limit + 1)
    if len(body) > limit:
        raise too_large
    return body
