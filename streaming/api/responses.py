"""Header fields that answers share, and the answers of the stream's own operations."""

from __future__ import annotations

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from streaming.conf import StreamingSettings
from streaming.log.outcome import Page
from streaming.log.state import StreamState

__all__ = ["EXPOSED_HEADERS", "finish", "page_headers", "state_headers"]

EXPOSED_HEADERS = (
    "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, Stream-TTL, Stream-Expires-At, Stream-Durability, "
    "Stream-Retention, Stream-Earliest-Offset, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, Producer-Expected-Seq, "
    "Producer-Received-Seq, ETag, Location, Retry-After, X-Request-ID"
)
ALLOWED_HEADERS = (
    "Content-Type, Authorization, Accept, If-None-Match, Last-Event-ID, Stream-Seq, Stream-TTL, Stream-Expires-At, Stream-Closed, "
    "Stream-Event-Type, Stream-Durability, Stream-Retention, Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, "
    "Producer-Id, Producer-Epoch, Producer-Seq, X-Request-ID, traceparent"
)
_PREFLIGHT_LIFE_S = 600


def finish(
    request: HttpRequest, response: HttpResponseBase, settings: StreamingSettings, methods: str
) -> HttpResponseBase:
    """Add what every answer of the API carries: who may read it from a browser, and how (Durable Streams 12.7).

    Args:
        methods: that the address has, as in an Allow field.
    """
    if response.status_code in (204, 304):
        del response["Content-Type"]  # Django's default, of a body that there is not
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    origin = request.headers.get("Origin")
    if "*" in settings.cors_origins:
        response["Access-Control-Allow-Origin"] = "*"
    elif settings.cors_origins:
        vary = response.get("Vary")
        response["Vary"] = f"{vary}, Origin" if vary else "Origin"
        if origin in settings.cors_origins:
            response["Access-Control-Allow-Origin"] = origin
    response["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    if request.method == "OPTIONS":
        response["Access-Control-Allow-Methods"] = methods
        response["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
        response["Access-Control-Max-Age"] = str(_PREFLIGHT_LIFE_S)
    return response


def state_headers(response: HttpResponseBase, state: StreamState) -> None:
    """What HEAD tells of a stream (Durable Streams 5.5)."""
    response["Content-Type"] = state.content_type
    response["Stream-Next-Offset"] = state.tail_offset
    response["Stream-Earliest-Offset"] = state.earliest_offset
    if state.is_closed:
        response["Stream-Closed"] = "true"
    if state.ttl_s >= 0:
        response["Stream-TTL"] = str(state.ttl_s)
    elif state.expires_text:
        response["Stream-Expires-At"] = state.expires_text
    if retention := str(state.retention):
        response["Stream-Retention"] = retention
    if state.durability:
        response["Stream-Durability"] = state.durability
    response["Cache-Control"] = "no-store"


def page_headers(response: HttpResponseBase, page: Page) -> None:
    """What a page tells of its place (Durable Streams 5.6)."""
    response["Stream-Next-Offset"] = page.next_offset
    if page.is_up_to_date:
        response["Stream-Up-To-Date"] = "true"
    if page.is_end:
        response["Stream-Closed"] = "true"
