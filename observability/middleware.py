"""The middleware that gives every request its id, counts it, and writes its line.

Natively async and without hooks, so that it costs no thread: in the lean chain, where nothing else would be allowed, and
outermost in Django's full chain, where Django adapts what is sync below it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, cast

from asgiref.sync import markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from observability.metrics import count_request
from observability.request_id import accept, accept_traceparent, request_id

__all__ = ["IdentifiedRequest", "RequestIdMiddleware"]

_QUIET_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines; a failing one would fill the log with the same line."""

_logger = logging.getLogger("streamsite.request")


class IdentifiedRequest(HttpRequest):
    """A request that went through the middleware; for annotations.

    Args:
        request_id: the client's own, or a UUID4.
        traceparent: the W3C trace context it came with; empty without a valid one.
    """

    request_id: str
    traceparent: str


class RequestIdMiddleware:
    """Sets `request.request_id`, `request.traceparent`, the context's request id and X-Request-ID of the answer.

    A stream is counted when its header is ready, and has no line here: whoever delivers it knows how it ended. The
    context's id stays set, so that the generator of a stream, which runs after this returns, sees it.
    """

    async_capable: ClassVar[bool] = True
    sync_capable: ClassVar[bool] = False

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self._get_response = get_response
        markcoroutinefunction(self)  # how Django's own wrappers see that __call__ is async

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer one request.

        Cancellation: passes through; a request whose client left before the answer is not counted as answered.
        """
        began = time.perf_counter()
        accepted = accept(request.META.get("HTTP_X_REQUEST_ID"))
        request_id.set(accepted.id)
        identified = cast("IdentifiedRequest", request)
        identified.request_id = accepted.id
        identified.traceparent = accept_traceparent(request.META.get("HTTP_TRACEPARENT"))
        response = await self._get_response(request)
        response["X-Request-ID"] = accepted.id
        elapsed_s = time.perf_counter() - began
        count_request(request.method or "", response.status_code, elapsed_s)
        if not response.streaming:
            _log(request, response.status_code, elapsed_s, accepted.client_request_id)
        return response


def _log(request: HttpRequest, status: int, elapsed_s: float, client_request_id: str | None) -> None:
    """One line: debug for what went well, for a site may answer thousands a second, and info for what was refused."""
    level = logging.DEBUG if status < 400 or request.path_info in _QUIET_PATHS else logging.INFO
    if not _logger.isEnabledFor(level):
        return
    extra = {
        "method": request.method,
        "path": request.path_info,  # without the query, which may hold a key
        "status": status,
        "elapsed_ms": round(elapsed_s * 1000, 3),
    }
    if client_request_id is not None:
        extra["client_request_id"] = client_request_id
    _logger.log(level, "request.answered", extra=extra)
