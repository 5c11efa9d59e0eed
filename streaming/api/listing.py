"""/v1/streams: what streams there are, and deleting many."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from streaming import runtime
from streaming.access.door import check_open
from streaming.api.problems import with_problems
from streaming.api.requests import integer_parameter, parameter
from streaming.api.responses import finish
from streaming.conf import StreamingSettings
from streaming.errors import RequestError
from streaming.log.listing import list_names, list_streams
from streaming.log.state import StreamState
from streaming.runtime import Runtime

__all__ = ["streams"]

METHODS = "GET, HEAD, DELETE, OPTIONS"
DEFAULT_LIMIT = 100
MAX_LIMIT = 1000


async def streams(request: HttpRequest) -> HttpResponseBase:
    """Answer for the list of streams, by method."""
    settings = runtime.settings()
    response = await _answer(request, settings)
    return finish(request, response, settings, METHODS)


@with_problems
async def _answer(request: HttpRequest, settings: StreamingSettings) -> HttpResponseBase:
    check_open(settings, request)
    if request.method == "OPTIONS":
        return HttpResponse(status=204, headers={"Allow": METHODS})
    site = await runtime.serving()
    if request.method in ("GET", "HEAD"):
        return await _list(request, site)
    if request.method == "DELETE":
        return await _delete(request, site)
    raise RequestError(
        405,
        "method-not-allowed",
        f"{request.method} is not allowed here; there are {METHODS}",
        headers={"Allow": METHODS},
    )


async def _list(request: HttpRequest, site: Runtime) -> HttpResponseBase:
    prefix, after = parameter(request, "prefix") or "", parameter(request, "after") or ""
    limit = integer_parameter(request, "limit", MAX_LIMIT) or DEFAULT_LIMIT
    found = await list_streams(site.log, prefix, after, limit)
    body = {
        "streams": [_described(name, state) for name, state in found.states],
        "next": found.next,
    }
    response = HttpResponse(orjson.dumps(body), content_type="application/json")
    response["Cache-Control"] = "no-store"
    return response


async def _delete(request: HttpRequest, site: Runtime) -> HttpResponseBase:
    prefix = parameter(request, "prefix")
    if not prefix:
        raise RequestError(400, "bad-parameter", "deleting many streams needs a prefix that is not empty")
    deleted, after = 0, ""
    while names := await list_names(site.log, prefix, after, MAX_LIMIT):
        for name in names:
            try:
                await site.log.delete(name)
            except RequestError as error:
                if error.status not in (404, 410):
                    raise
            else:
                deleted += 1
        after = names[-1]
    return HttpResponse(orjson.dumps({"deleted": deleted}), content_type="application/json")


def _described(name: str, state: StreamState) -> dict[str, Any]:
    described = {
        "name": name,
        "content_type": state.content_type,
        "tail_offset": state.tail_offset,
        "earliest_offset": state.earliest_offset,
        "closed": state.is_closed,
        "events": state.count,
        "bytes": state.bytes,
        "created_at": _time(state.created_ms),
        "last_append_at": _time(state.time_ms),
    }
    if state.expires_ms:
        described["expires_at"] = _time(state.expires_ms)
    if state.ttl_s >= 0:
        described["ttl_s"] = state.ttl_s
    if retention := str(state.retention):
        described["retention"] = retention
    return described


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
