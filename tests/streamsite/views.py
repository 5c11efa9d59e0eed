"""Views that do on purpose what a view may do by mistake, and their URL map: what the handler is tested with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

__all__ = ["urlpatterns"]

ended: list[str] = []
"""What the views' `finally` blocks have noted, oldest first; a test clears it."""
started = asyncio.Event()
"""Set by the views that wait; a test makes a new one for its loop."""


async def echo(request: HttpRequest, name: str) -> HttpResponse:
    """What arrived."""
    return JsonResponse({"name": name, "body": request.body.decode(), "method": request.method})


async def wait(request: HttpRequest) -> HttpResponse:
    """Never answers."""
    try:
        started.set()
        await asyncio.Event().wait()
    finally:
        ended.append("wait")
    return HttpResponse()


async def live(request: HttpRequest) -> StreamingHttpResponse:
    """One part, and then nothing for ever."""

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # clean-up may wait
            ended.append("live")

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def breaks(request: HttpRequest) -> StreamingHttpResponse:
    """Fails after its first part."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError("the secret of the second part")

    return StreamingHttpResponse(parts(), content_type="text/plain")


async def fails(request: HttpRequest) -> HttpResponse:
    """Fails at once."""
    raise RuntimeError("the secret of the view")


async def threads(request: HttpRequest) -> HttpResponse:
    """Uses a thread, as a view that asks the database does."""
    return HttpResponse(await sync_to_async(lambda: threading.current_thread().name)())


async def refuses(request: HttpRequest) -> HttpResponse:
    """Knows by the header that it does not want the body, unless it is told to receive it."""
    if "X-Receive" not in request.headers:
        return HttpResponse(status=403)
    return HttpResponse(await request.receive_body())  # type: ignore[attr-defined]


refuses.receives_body = True  # type: ignore[attr-defined]


async def wait_without_body(request: HttpRequest) -> HttpResponse:
    """Never answers, and never asks for the body that a GET has not."""
    return await wait(request)


wait_without_body.receives_body = True  # type: ignore[attr-defined]


def sync(request: HttpRequest) -> HttpResponse:
    """Not for the lean handler."""
    return HttpResponse()


async def sync_stream(request: HttpRequest) -> StreamingHttpResponse:
    """A sync iterator, which nobody should stream."""
    return StreamingHttpResponse(iter([b"a", b"b"]))


async def missing(request: HttpRequest) -> HttpResponse:
    """Says 404 as Django's views do."""
    raise Http404("no such thing")


async def no_content(request: HttpRequest) -> HttpResponse:
    """204."""
    return HttpResponse(status=204)


urlpatterns = [
    path("v1/echo/<path:name>", echo),
    path("v1/wait", wait),
    path("v1/wait-without-body", wait_without_body),
    path("v1/live", live),
    path("v1/breaks", breaks),
    path("v1/fails", fails),
    path("v1/threads", threads),
    path("v1/refuses", refuses),
    path("v1/sync", sync),
    path("v1/sync-stream", sync_stream),
    path("v1/missing", missing),
    path("v1/no-content", no_content),
    path("full/echo/<path:name>", echo),
]
