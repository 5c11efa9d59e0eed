"""In which form a reader wants a stream: by `live=` first, then by Accept (RFC 9110, 12.5.1)."""

from __future__ import annotations

from enum import Enum

from django.http import HttpRequest

from streaming.api.requests import parameter
from streaming.errors import RequestError

__all__ = ["Form", "form_of"]

NDJSON_TYPES = ("application/x-ndjson", "application/ndjson")
SSE_TYPE = "text/event-stream"


class Form(Enum):
    """The value is the metric label."""

    CATCH_UP = "catch-up"
    LONG_POLL = "long-poll"
    SSE = "sse"
    """The protocol's: data and control events."""
    NATIVE_SSE = "native-sse"
    """EventSource's: an event for each message."""
    NDJSON_PAGE = "ndjson-page"
    NDJSON_LIVE = "ndjson"


_BY_LIVE = {"long-poll": Form.LONG_POLL, "sse": Form.SSE, "ndjson": Form.NDJSON_LIVE}


def form_of(request: HttpRequest, stream_media: str) -> Form:
    """The form that a GET asks for.

    Args:
        stream_media: type/subtype of the stream. Accept is compared with it first: what asks for just that wants the bytes.

    Raises: RequestError: 400 unknown `live`, 406 nothing that Accept allows fits.
    """
    live = parameter(request, "live")
    if live is not None:
        if live not in _BY_LIVE:
            raise RequestError(400, "bad-parameter", f"live is long-poll, sse or ndjson, got {live[:64]!r}")
        return _BY_LIVE[live]
    accept = request.headers.get("Accept", "")
    if not accept or accept == "*/*":
        return Form.CATCH_UP
    offers = [(stream_media, Form.CATCH_UP), (SSE_TYPE, Form.NATIVE_SSE)]
    offers += [(media, Form.NDJSON_PAGE) for media in NDJSON_TYPES]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    quality, form = max(((_quality(media, ranges), form) for media, form in offers), key=lambda offer: offer[0])
    if quality <= 0:
        known = ", ".join([stream_media, SSE_TYPE, NDJSON_TYPES[0]])
        raise RequestError(406, "not-acceptable", f"this stream can be had as {known}, Accept allows none of them")
    return form


def _range(text: str) -> tuple[str, float]:
    media, *parameters = (part.strip().lower() for part in text.split(";"))
    quality = 1.0
    for parameter_text in parameters:
        name, _, value = parameter_text.partition("=")
        if name.strip() == "q":
            try:
                quality = min(1.0, max(0.0, float(value)))
            except ValueError:
                quality = 0.0
    return media, quality


def _quality(media: str, ranges: list[tuple[str, float]]) -> float:
    """The quality that the most specific fitting range gives; the order of offers decides between equals."""
    major = media.partition("/")[0]
    for wanted in (media, f"{major}/*", "*/*"):
        found = [quality for given, quality in ranges if given == wanted]
        if found:
            return max(found)
    return 0.0
