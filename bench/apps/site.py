"""A Django project of two async views, for the stock handler and for ours.

Without middleware and without a database, which is the best case of the stock handler: each middleware that is not
async would cost it a thread for every request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path

__all__ = ["EVENTS", "urlpatterns"]

EVENTS = 10


async def hello(_request: HttpRequest) -> HttpResponse:
    """A small answer."""
    return HttpResponse(b"Hello, world!", content_type="text/plain")


async def events(_request: HttpRequest) -> StreamingHttpResponse:
    """Ten parts, each of them there at once."""
    return StreamingHttpResponse(_events(), content_type="text/event-stream")


async def _events() -> AsyncIterator[bytes]:
    for number in range(EVENTS):
        yield b"id: %d\ndata: Hello, world!\n\n" % number


urlpatterns = [path("hello", hello), path("events", events)]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[],
    ROOT_URLCONF=__name__,
    SECRET_KEY="a benchmark has no secrets",  # noqa: S106 - nor sessions
    STREAMING={"MAX_BODY_BYTES": 8 * 1024 * 1024},
    STREAMSITE_LEAN_MIDDLEWARE=[],
)
django.setup(set_prefix=False)
