"""The middleware: alone, in Django's full chain, and round a stream."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import prometheus_client
import pytest
from asgiref.sync import iscoroutinefunction
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import AsyncRequestFactory, Client, override_settings
from django.urls import path

from observability.middleware import RequestIdMiddleware
from observability.request_id import current
from tests.support.deadlines import bound

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def plain(request: HttpRequest) -> HttpResponse:
    """Tells what a view sees."""
    return HttpResponse(f"{current()} {getattr(request, 'request_id', '')} {getattr(request, 'traceparent', '')}")


def threaded(_request: HttpRequest) -> HttpResponse:
    """A sync view, as the admin's are."""
    return HttpResponse(current())


async def stream(_request: HttpRequest) -> StreamingHttpResponse:
    """A stream whose generator tells what it sees."""

    async def parts() -> AsyncIterator[bytes]:
        await asyncio.sleep(0)
        yield current().encode()

    return StreamingHttpResponse(parts())


async def failing(_request: HttpRequest) -> HttpResponse:
    """A view with a fault."""
    raise RuntimeError("a fault")


urlpatterns = [
    path("plain", plain),
    path("threaded", threaded),
    path("stream", stream),
    path("failing", failing),
    path("readyz", failing),
]
only_ours = override_settings(
    ROOT_URLCONF=__name__, MIDDLEWARE=["observability.middleware.RequestIdMiddleware"], ALLOWED_HOSTS=["*"]
)


async def ask(where: str, *headers: tuple[bytes, bytes]) -> tuple[int, dict[bytes, bytes], bytes]:
    """One request through Django's own ASGI handler: status, header and body."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": where,
        "query_string": b"key=hunter2",
        "headers": [(b"host", b"site"), *headers],
    }
    handler: Any = ASGIHandler()
    make: Any = ApplicationCommunicator  # published without types
    communicator = make(handler, scope)
    await communicator.send_input({"type": "http.request", "body": b""})
    start = await communicator.receive_output(bound(2))
    body = b""
    while True:
        message = await communicator.receive_output(bound(2))
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await communicator.wait(bound(2))
    return start["status"], dict(start["headers"]), body


def counted(status: int) -> float:
    """What the metric says."""
    labels = {"method": "GET", "status": str(status)}
    return prometheus_client.REGISTRY.get_sample_value("stream_http_requests_total", labels) or 0.0


@only_ours
async def test_view_and_answer_have_the_clients_id() -> None:
    """The client's id is in the context, on the request and in the answer; the trace context is on the request."""
    status, headers, body = await ask(
        "/plain", (b"x-request-id", b"client-0001"), (b"traceparent", TRACEPARENT.encode())
    )
    assert status == 200
    assert headers[b"X-Request-ID"] == b"client-0001"
    assert body.decode() == f"client-0001 client-0001 {TRACEPARENT}"


@only_ours
async def test_two_ids_are_none() -> None:
    """A header that came twice is not a choice between the two."""
    _, headers, body = await ask("/plain", (b"x-request-id", b"client-0001"), (b"x-request-id", b"client-0002"))
    assert uuid.UUID(headers[b"X-Request-ID"].decode()).version == 4
    assert body.split()[0] == headers[b"X-Request-ID"]


@only_ours
async def test_generator_of_a_stream_sees_the_id() -> None:
    """The id is there while the stream runs, after the middleware has returned."""
    status, headers, body = await ask("/stream", (b"x-request-id", b"client-0001"))
    assert status == 200
    assert headers[b"X-Request-ID"] == b"client-0001"
    assert body == b"client-0001"


@only_ours
async def test_sync_view_sees_the_id() -> None:
    """Django's threads have the id too."""
    _, _, body = await ask("/threaded", (b"x-request-id", b"client-0001"))
    assert body == b"client-0001"


@only_ours
async def test_requests_at_once_do_not_mix() -> None:
    """Each of a hundred concurrent requests gets its own id back."""
    names = [f"client-{number:04}".encode() for number in range(100)]
    answers = await asyncio.gather(*(ask("/plain", (b"x-request-id", name)) for name in names))
    assert [headers[b"X-Request-ID"] for _, headers, _ in answers] == names
    assert [body.split()[0] for _, _, body in answers] == names


@only_ours
async def test_failed_and_missing_pages_are_counted_and_have_an_id(caplog: pytest.LogCaptureFixture) -> None:
    """What Django answers by itself goes through the middleware."""
    caplog.set_level(logging.DEBUG, logger="streamsite.request")
    failed, missing = counted(500), counted(404)
    for where, expected in (("/failing", 500), ("/missing", 404)):
        status, headers, _ = await ask(where)
        assert status == expected
        assert b"X-Request-ID" in headers
    assert (counted(500), counted(404)) == (failed + 1, missing + 1)


@only_ours
async def test_line_shows_the_request_and_no_query(caplog: pytest.LogCaptureFixture) -> None:
    """Method, path, status and time; debug where all is well, info where it is not; never the query."""
    caplog.set_level(logging.DEBUG, logger="streamsite.request")
    await ask("/plain", (b"x-request-id", b"x"))
    await ask("/missing")
    lines = [record for record in caplog.records if record.name == "streamsite.request"]
    assert [(line.levelname, line.message) for line in lines] == [
        ("DEBUG", "request.answered"),
        ("INFO", "request.answered"),
    ]
    fields = lines[0].__dict__
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/plain", 200)
    assert fields["elapsed_ms"] > 0
    assert fields["client_request_id"] == "x"
    assert "hunter2" not in str(fields)


@only_ours
async def test_stream_has_no_line_here_but_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """How a stream ended is told by whoever delivers it."""
    caplog.set_level(logging.DEBUG, logger="streamsite.request")
    before = counted(200)
    await ask("/stream")
    assert counted(200) == before + 1
    assert not [record for record in caplog.records if record.name == "streamsite.request"]


@only_ours
async def test_failing_health_check_stays_quiet(caplog: pytest.LogCaptureFixture) -> None:
    """A probe every second does not fill the log."""
    caplog.set_level(logging.INFO, logger="streamsite.request")
    status, _, _ = await ask("/readyz")
    assert status == 500
    assert not [record for record in caplog.records if record.name == "streamsite.request"]


@override_settings(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=[
        "observability.middleware.RequestIdMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.common.CommonMiddleware",
    ],
)
async def test_full_chain_answers_with_the_id() -> None:
    """Django's own middleware below it makes no difference."""
    for where in ("/plain", "/threaded", "/stream"):
        _, headers, body = await ask(where, (b"x-request-id", b"client-0001"))
        assert headers[b"X-Request-ID"] == b"client-0001"
        assert body.split()[0] == b"client-0001"


@only_ours
def test_sync_handler_answers_with_the_id() -> None:
    """Django's test client, and any WSGI server, can use the same chain."""
    response = Client().get("/threaded", headers={"X-Request-ID": "client-0001"})
    assert response["X-Request-ID"] == "client-0001"


async def test_middleware_takes_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is async for whoever asks, and calls the next one directly."""

    async def answer(_request: HttpRequest) -> HttpResponseBase:
        return HttpResponse("ok")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a thread")

    middleware = RequestIdMiddleware(answer)
    assert iscoroutinefunction(middleware)
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor.submit", refuse)
    response = await middleware(AsyncRequestFactory().get("/"))
    assert response.status_code == 200


async def test_cancelled_request_is_not_counted() -> None:
    """A client that leaves before the answer ends the request; nothing is answered, so nothing is counted."""
    is_begun = asyncio.Event()

    async def never(_request: HttpRequest) -> HttpResponseBase:
        is_begun.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    before = counted(200)
    task = asyncio.create_task(RequestIdMiddleware(never)(AsyncRequestFactory().get("/")))
    await asyncio.wait_for(is_begun.wait(), bound(1))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(200) == before
