"""The lean handler, driven message by message as a server would."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from asgiref.sync import SyncToAsync
from django.core import signals
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import override_settings
from django.utils.deprecation import MiddlewareMixin

from streamsite.handler import LeanHandler, LeanRequest
from streamsite.intake import Intake
from streamsite.types import ON_LEAVE
from tests.streamsite import views
from tests.support.deadlines import bound

pytestmark = pytest.mark.usefixtures("_own_urls")


class Marking:
    """A natively async middleware that shows what it saw."""

    async_capable = True
    sync_capable = False

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = await self.get_response(request)
        response["X-Seen"] = str(response.status_code)
        return response


class Broken(Marking):
    """A middleware with a mistake."""

    async def __call__(self, request: HttpRequest) -> HttpResponseBase:
        raise RuntimeError("the secret of the middleware")


class Threaded(MiddlewareMixin):
    """Async outside, threads inside."""


class Hooked(Marking):
    """Has a hook that nobody would call."""

    async def process_view(self, *args: Any) -> None: ...


@pytest.fixture
def _own_urls() -> Any:
    views.ended.clear()
    views.started = asyncio.Event()
    mine = f"{__name__}.Marking"
    with override_settings(
        ROOT_URLCONF=views.__name__, STREAMSITE_LEAN_MIDDLEWARE=[mine], STREAMING={"MAX_BODY_BYTES": 10}
    ):
        yield


class Exchange:
    """One request: what the server gives, what the handler sends."""

    def __init__(self, path: str, *messages: dict[str, Any], method: str = "GET", **scope: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            **scope,
        }
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.received = 0
        self.sent: list[Any] = []
        self.got_part = asyncio.Event()
        for message in messages or ({"type": "http.request", "body": b""},):
            self.incoming.put_nowait(message)

    async def receive(self) -> dict[str, Any]:
        message = await self.incoming.get()
        self.received += 1
        return message

    async def send(self, message: Any) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.got_part.set()

    async def run(self) -> Exchange:
        async with asyncio.timeout(bound(2)):
            await LeanHandler()(self.scope, self.receive, self.send)
        return self

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        async with asyncio.timeout(bound(2)):
            task = asyncio.create_task(LeanHandler()(self.scope, self.receive, self.send))
            try:
                yield task
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError, RuntimeError):
                    await task

    def disconnect(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def problem(self) -> dict[str, Any]:
        assert self.headers["content-type"] == "application/problem+json"
        return dict(json.loads(self.body))


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    """One message of a request body."""
    return {"type": "http.request", "body": data, "more_body": more}


async def test_view_gets_body_and_answers_with_length() -> None:
    """A body that comes in pieces reaches the view whole, and the answer says how long it is."""
    got = await Exchange("/v1/echo/a", body(b"12", more=True), body(b"34"), method="POST").run()
    assert (got.status, json.loads(got.body)) == (200, {"name": "a", "body": "1234", "method": "POST"})
    assert got.headers["content-length"] == str(len(got.body))


async def test_encoded_slash_stays_encoded_in_route() -> None:
    """J10: Django routes by the decoded path, where `/a%2Fb` and `/a/b` are one; here they are two."""
    got = await Exchange("/v1/echo/a/b", raw_path=b"/v1/echo/a%2Fb").run()
    assert json.loads(got.body)["name"] == "a%2Fb"


async def test_server_without_raw_path_still_routes() -> None:
    """raw_path is optional in ASGI."""
    got = await Exchange("/v1/echo/ä", raw_path=None).run()
    assert json.loads(got.body)["name"] == "%C3%A4"


async def test_unknown_path_is_problem_and_body_stays_unread() -> None:
    """404 through the middleware, without having asked for the body."""
    got = await Exchange("/v1/nothing", method="POST").run()
    assert (got.status, got.problem["type"], got.received) == (404, "/problems/not-found", 0)
    assert got.headers["x-seen"] == "404"


async def test_view_that_says_404_is_problem() -> None:
    """Http404 is an answer, not a failure."""
    got = await Exchange("/v1/missing").run()
    assert (got.status, got.problem["detail"]) == (404, "no such thing")


async def test_declared_length_over_limit_is_413_before_reading() -> None:
    """BI1: Content-Length alone decides; nothing is received, so no 100-continue is sent either."""
    got = await Exchange("/v1/echo/a", method="POST", headers=[(b"content-length", b"11")]).run()
    assert (got.status, got.problem["type"], got.received) == (413, "/problems/too-large", 0)
    assert got.headers["connection"] == "close"
    assert got.headers["x-seen"] == "413"


async def test_headers_are_those_that_django_gives() -> None:
    """Looked up in any case, absent ones too, and listed."""
    exchange = Exchange("/v1/echo/a", headers=[(b"x-one", b"1"), (b"content-type", b"text/plain")])
    intake = Intake(exchange.scope, exchange.receive, max_bytes=1, on_gone=lambda: None)
    lean, full = LeanRequest(exchange.scope, intake), ASGIRequest(exchange.scope, io.BytesIO())
    for name in ("X-One", "x-one", "Content-Type", "CONTENT-TYPE", "X-None", "Host"):
        assert lean.headers.get(name) == full.headers.get(name)
        assert (name in lean.headers) == (name in full.headers)
    assert dict(lean.headers) == dict(full.headers)
    assert lean.headers["X-One"] == "1"
    assert len(lean.headers) == 2


async def test_view_that_asks_for_it_begins_before_the_body() -> None:
    """What the header decides costs no body; and the view can still have it."""
    got = await Exchange("/v1/refuses", {"type": "http.request", "body": b"x", "more_body": True}, method="POST").run()
    assert (got.status, got.received) == (403, 0)
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.request", "body": b"y"},
    ]
    got = await Exchange("/v1/refuses", *parts, method="POST", headers=[(b"x-receive", b"1")]).run()
    assert (got.status, got.sent[1]["body"]) == (200, b"xy")
    long = {"type": "http.request", "body": b"x" * 11, "more_body": True}
    got = await Exchange("/v1/refuses", long, method="POST", headers=[(b"x-receive", b"1")]).run()
    assert (got.status, got.headers["connection"]) == (413, "close")


async def test_body_over_limit_is_413_while_it_arrives() -> None:
    """BI2: the piece that passes the limit is the last that is received."""
    got = await Exchange(
        "/v1/echo/a", body(b"123456", more=True), body(b"123456", more=True), body(b"x"), method="POST"
    ).run()
    assert (got.status, got.received) == (413, 2)


async def test_http2_answer_has_no_connection_header() -> None:
    """RFC 9113 8.2.2: Connection is forbidden there, and clients break off."""
    got = await Exchange("/v1/echo/a", method="POST", http_version="2", headers=[(b"content-length", b"11")]).run()
    assert got.status == 413
    assert "connection" not in got.headers


async def test_query_that_is_not_utf8_is_problem() -> None:
    """400 with a problem document, not the bare page that Django has for it."""
    got = await Exchange("/v1/echo/a", query_string=b"offset=\xff").run()
    assert (got.status, got.problem["type"], got.headers["x-seen"]) == (400, "/problems/bad-parameter", "400")


@pytest.mark.parametrize("path", ["/v1/fails", "/v1/sync", "/v1/sync-stream"])
async def test_failure_before_first_byte_is_500_without_detail(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """BI43: the answer tells nothing about the failure; the log has all of it."""
    got = await Exchange(path).run()
    assert (got.status, got.problem["type"], got.headers["x-seen"]) == (500, "/problems/internal", "500")
    assert b"secret" not in got.body
    assert caplog.records[-1].exc_info is not None


async def test_failure_in_middleware_is_500() -> None:
    """A middleware that breaks is answered as a view that breaks."""
    with override_settings(STREAMSITE_LEAN_MIDDLEWARE=[f"{__name__}.Broken"]):
        got = await Exchange("/v1/echo/a").run()
    assert got.status == 500
    assert b"secret" not in got.body


async def test_failure_after_first_byte_reaches_server() -> None:
    """The answer can't be taken back, so the server must break the connection: the exception goes to it."""
    exchange = Exchange("/v1/breaks")
    with pytest.raises(RuntimeError, match="second part"):
        await exchange.run()
    assert exchange.body == b"first"
    assert exchange.sent[-1]["more_body"] is True


async def test_stream_header_is_sent_before_first_part() -> None:
    """A live reader at the tail opens at once: the header does not wait for an event."""
    exchange = Exchange("/v1/live")
    async with exchange.running():
        await exchange.got_part.wait()
        assert exchange.sent[1] == {"type": "http.response.body", "body": b"", "more_body": True}


@pytest.mark.parametrize("path", ["/v1/wait", "/v1/wait-without-body"])
async def test_client_leaving_cancels_view(path: str) -> None:
    """2.3: the view ends with its request, and the server sees nothing unusual."""
    exchange = Exchange(path)
    async with exchange.running() as task:
        await views.started.wait()
        exchange.disconnect()
        await task
    assert (views.ended, exchange.sent) == (["wait"], [])


async def test_client_leaving_cancels_view_where_server_calls_back() -> None:
    """The same where our own server tells it, with nothing left to receive."""
    callbacks: list[Callable[[], object]] = []
    exchange = Exchange("/v1/wait", extensions={ON_LEAVE: callbacks.append})
    async with exchange.running() as task:
        await views.started.wait()
        callbacks[0]()
        await task
    assert (views.ended, exchange.sent, exchange.received) == (["wait"], [], 1)


async def test_client_leaving_closes_stream_before_handler_returns() -> None:
    """J7: the `finally` of the view's generator has run, to its end, when the handler returns."""
    exchange = Exchange("/v1/live")
    async with exchange.running() as task:
        await views.started.wait()
        exchange.disconnect()
        await task
        assert views.ended == ["live"]


async def test_client_leaving_before_body_is_complete_ends_request() -> None:
    """No view is called with half a body."""
    exchange = Exchange("/v1/echo/a", body(b"12", more=True), {"type": "http.disconnect"}, method="POST")
    await exchange.run()
    assert exchange.sent == []


async def test_server_cancelling_runs_finally_and_travels_on() -> None:
    """D5: a server that stops cancels its applications; the clean-up runs and the cancellation is not swallowed."""
    exchange = Exchange("/v1/live")
    async with exchange.running() as task:
        await views.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert views.ended == ["live"]


async def test_tasks_are_back_at_their_count() -> None:
    """2.3: no task of a request outlives it."""
    before = asyncio.all_tasks()
    await Exchange("/v1/echo/a").run()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_request_uses_no_thread() -> None:
    """J1: Django's handler makes a thread pool for every request; the lean one makes none."""
    made: list[object] = []

    class Counting(dict[Any, Any]):
        def __setitem__(self, key: object, value: object) -> None:
            made.append(key)
            super().__setitem__(key, value)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SyncToAsync, "context_to_thread_executor", Counting())
        await Exchange("/v1/echo/a").run()
        assert made == []
        await Exchange("/v1/threads").run()
        assert len(made) == 1


async def test_request_finished_is_sent_only_when_thread_was_used() -> None:
    """(w): its receivers close the connections of the request's own thread, so they are called there, or not at all."""
    seen: list[object] = []

    def note(**_: object) -> None:
        seen.append(None)

    signals.request_finished.connect(note)
    try:
        await Exchange("/v1/echo/a").run()
        assert seen == []
        await Exchange("/v1/threads").run()
        assert len(seen) == 1
    finally:
        signals.request_finished.disconnect(note)


async def test_head_of_stream_sends_no_part() -> None:
    """A HEAD request starts no producer."""
    got = await Exchange("/v1/live", method="HEAD").run()
    assert (got.status, got.body, views.ended) == (200, b"", [])


async def test_204_has_no_length() -> None:
    """RFC 9110 8.6 forbids it."""
    got = await Exchange("/v1/no-content").run()
    assert "content-length" not in got.headers


@pytest.mark.parametrize(
    "path", ["django.middleware.common.CommonMiddleware", f"{__name__}.Threaded", f"{__name__}.Hooked", "builtins.dict"]
)
def test_middleware_that_needs_threads_is_refused(path: str) -> None:
    """J2: "async-capable" middleware of Django runs its hooks in threads; it is named at start, not found in a profile."""
    with override_settings(STREAMSITE_LEAN_MIDDLEWARE=[path]), pytest.raises(ImproperlyConfigured, match=path):
        LeanHandler()
