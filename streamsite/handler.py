"""The lean handler: Django's views below /v1/ without Django's threads.

Django's own handler reads the whole body before it looks at the URL, sends its signals through a thread for each
request, wraps most middleware into threads, and lets `listen_for_disconnect` own `receive`. This one keeps Django's
request, resolver, views and responses, and replaces the way between them:

    receive ──▶ Intake: body, then "the client is gone"
    handle ──▶ lean middleware ──▶ resolve by the raw path ──▶ async view ──▶ send

A view that has `receives_body = True` begins when the header of a POST or PUT is there, and awaits
`request.receive_body()` when it wants the body; any other finds its body there, as under Django's own handler.

A request costs no task beside the server's own, where that tells of a client that leaves (`intake.py`), and a thread
only if its view used one.
"""

from __future__ import annotations

import asyncio
import functools
import io
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, iscoroutinefunction, sync_to_async
from django.conf import settings
from django.core import signals
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler, ASGIRequest, get_script_prefix
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.request import HttpHeaders
from django.http.response import HttpResponseBase
from django.urls import ResolverMatch, get_resolver, set_script_prefix
from django.utils.deprecation import MiddlewareMixin
from django.utils.module_loading import import_string

from streaming.api.problems import problem_response
from streaming.errors import ProblemError, RequestError
from streamsite.intake import BodyTooLarge, Intake
from streamsite.types import Message, Receive, Scope, Send

__all__ = ["LeanHandler", "LeanRequest", "raw_path", "too_large"]

GetResponse = Callable[["LeanRequest"], Awaitable[HttpResponseBase]]

_HOOKS = ("process_view", "process_exception", "process_template_response")
_WITHOUT_LENGTH = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_RESOLVED, _SHORT_PATH = 1024, 256
"""Paths whose views are kept, and how long they may be: at most a megabyte."""

_logger = logging.getLogger(__name__)


def raw_path(scope: Scope) -> bytes:
    """The path as it came, still percent-encoded, without query: what names are read from (`streaming/names.py`)."""
    raw = scope.get("raw_path")
    # Optional in ASGI; a server without it decoded the path, and quoting is the nearest that can be had.
    return raw if isinstance(raw, bytes) else quote(scope["path"]).encode("ascii")


def too_large(detail: str, scope: Mapping[str, Any]) -> RequestError:
    """What a body over the limit is answered with, here and by the full chain."""
    # What follows on this connection is the rest of the body; HTTP/2 forbids the field, and needs it not.
    is_first = scope.get("http_version", "1.1").startswith("1")
    return RequestError(413, "too-large", detail, headers={"Connection": "close"} if is_first else None)


@functools.lru_cache(maxsize=256)
def _meta_key(name: str) -> str:
    """The key of a field in `request.META`."""
    key = name.upper().replace("-", "_")
    return key if key in HttpHeaders.UNPREFIXED_HEADERS else HttpHeaders.HTTP_PREFIX + key


class _LeanHeaders(Mapping[str, str]):
    """`request.headers`, looked up in `META` where Django copies all of it first: 0.3 µs in place of 11."""

    __slots__ = ("_meta",)

    def __init__(self, meta: Mapping[str, str]) -> None:
        self._meta = meta

    def __getitem__(self, name: str) -> str:
        return self._meta[_meta_key(name)]

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without an exception for what is not there."""
        return self._meta.get(_meta_key(name), default)

    def __iter__(self) -> Iterator[str]:
        return iter(HttpHeaders(self._meta))

    def __len__(self) -> int:
        return len(HttpHeaders(self._meta))


class LeanRequest(ASGIRequest):
    """Django's request, routed by the raw path: `/a%2Fb` and `/a/b` are two URLs and stay two."""

    def __init__(self, scope: Scope, intake: Intake) -> None:
        super().__init__(scope, io.BytesIO())
        self.intake = intake
        self.path_info = raw_path(scope).decode("latin-1").removeprefix(self.script_name or "")
        self.META["PATH_INFO"] = self.path_info
        self.is_readable = True
        """False: the query was not UTF-8 and is left out; the request gets 400."""

    @functools.cached_property
    def headers(self) -> Mapping[str, str]:  # type: ignore[override]
        """The header fields, in any case."""
        return _LeanHeaders(self.META)

    async def receive_body(self) -> bytes:
        """Wait for the body, once; `request.body` and `request.read()` then give it too.

        Raises: RequestError: it is too long.
        Cancellation: by the client that leaves before it is complete.
        """
        try:
            body = await self.intake.body()
        except BodyTooLarge as error:
            raise too_large(str(error), self.scope) from error
        # Set as Django caches it: `body` would compare the length with DATA_UPLOAD_MAX_MEMORY_SIZE first.
        self._body = body
        self._stream = io.BytesIO(body)
        return body


class LeanHandler(ASGIHandler):
    """Serves async views through natively async middleware.

    `settings.STREAMSITE_LEAN_MIDDLEWARE` lists the middleware, outermost first. The lean handler also answers what no
    view can: 404, 413, 500, always with a problem document and through the middleware, so that each has its request id.
    """

    _chain: GetResponse
    _max_body_bytes: int

    def load_middleware(self, is_async: bool = True) -> None:  # noqa: ARG002 - Django's signature
        """Build the chain.

        Raises: ImproperlyConfigured: a middleware is not natively async, or has hooks that would never be called.
        """
        chain = _answering_failures(self._call_view)
        for path in reversed(settings.STREAMSITE_LEAN_MIDDLEWARE):
            chain = _answering_failures(_instantiate(path, chain))
        self._chain = chain
        # Each look at a setting costs half a microsecond, and each resolution five; the first of these, ten.
        self._max_body_bytes = settings.STREAMING["MAX_BODY_BYTES"]
        self._resolve_short = lru_cache(_RESOLVED)(self._resolve)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with a thread of its own for what of it is sync, made when it is first needed."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        if SyncToAsync.thread_sensitive_context.get(None) is not None:
            await self.handle(scope, receive, send)
            return
        # What `async with ThreadSensitiveContext()` does, without looking for a thread that there is not.
        context = ThreadSensitiveContext()
        context.token = SyncToAsync.thread_sensitive_context.set(context)
        try:
            await self.handle(scope, receive, send)
        finally:
            if context in SyncToAsync.context_to_thread_executor:
                await context.__aexit__(None, None, None)  # type: ignore[no-untyped-call]
            else:
                SyncToAsync.thread_sensitive_context.reset(context.token)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request.

        Cancellation: by the client that leaves, ends the view and its response here and returns; by the server, the
        same, and the cancellation travels on.

        Raises: Exception: whatever the response raised after its first byte. The answer can't be taken back by then,
            so the server has to break the connection, or the client would take a part for the whole.
        """
        if scope.get("root_path"):  # without one, what Django has when nobody sets it is right
            set_script_prefix(get_script_prefix(scope))
        task = asyncio.current_task()
        assert task is not None, "an ASGI application runs in a task"  # noqa: S101 - for mypy
        cancels_before = task.cancelling()
        intake = Intake(scope, receive, max_bytes=self._max_body_bytes, on_gone=task.cancel)
        try:
            await self._answer(scope, intake, send)
        except asyncio.CancelledError:
            if not intake.is_client_gone or task.uncancel() > cancels_before:
                raise
        finally:
            intake.close()

    async def _answer(self, scope: Scope, intake: Intake, send: Send) -> None:
        request = _make_request(scope, intake)
        response: HttpResponseBase | None = None
        try:
            response = await self._chain(request)
            start = _encode_start(request, response)
            await self._send(request, response, start, send)
        finally:
            await self._close(request, response)

    async def _call_view(self, request: LeanRequest) -> HttpResponseBase:
        """The innermost step: resolve, wait for the body, call."""
        if not request.is_readable:
            return problem_response(RequestError(400, "bad-parameter", "the query string is not UTF-8"))
        path = request.path_info
        try:
            match = self._resolve_short(path) if len(path) <= _SHORT_PATH else self._resolve(path)
        except Http404:
            return problem_response(RequestError(404, "not-found", "there is nothing at this path"))
        request.resolver_match = match
        try:
            # Django's contract: a view finds it there. And where there is none, receiving it costs nothing, and a server
            # that tells only by `receive` is listened to, while the view waits, for the client that leaves.
            if request.method not in _WITH_BODY or not getattr(match.func, "receives_body", False):
                await request.receive_body()
            response: HttpResponseBase = await match.func(request, *match.args, **match.kwargs)
        except RequestError as error:
            return problem_response(error)
        except Http404 as error:
            return problem_response(RequestError(404, "not-found", str(error) or "there is nothing at this path"))
        if type(response) is not HttpResponse:  # the common case needs no look
            self.check_response(response, match.func)
        if isinstance(response, StreamingHttpResponse) and not response.is_async:
            raise ImproperlyConfigured(
                f"{match._func_path} streams a sync iterator: nothing would be sent until its end"
            )
        return response

    @staticmethod
    def _resolve(path: str) -> ResolverMatch:
        """Find the view of a path.

        Raises: Http404: there is none. ImproperlyConfigured: it is not async.
        """
        match = get_resolver(None).resolve(path)
        if not iscoroutinefunction(match.func):
            raise ImproperlyConfigured(f"{match._func_path} is served by the lean handler and must be async")
        return match

    async def _send(self, request: LeanRequest, response: HttpResponseBase, start: Message, send: Send) -> None:
        """Send one response; after `start` nothing about it can change."""
        if not isinstance(response, StreamingHttpResponse):
            body = response.content if isinstance(response, HttpResponse) else b""
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        await send(start)
        # Servers hold the header back until the first body message, and a live reader at the tail may get its first
        # event much later; EventSource opens when it has the header.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        if request.method != "HEAD":
            # The view's own iterator, not Django's wrapper round it: closing the wrapper leaves the inner one to the
            # garbage collector, and its `finally` to some later time. `_close` closes it.
            async for part in response._iterator:  # type: ignore[attr-defined]
                await send({"type": "http.response.body", "body": response.make_bytes(part), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _close(self, request: LeanRequest, response: HttpResponseBase | None) -> None:
        """Give back what the request held.

        Django's receivers of `request_finished` close database connections, which belong to threads: they are called
        in the request's own thread, and only when it has one.
        """
        if (end := getattr(getattr(response, "_iterator", None), "aclose", None)) is not None:
            await end()  # never begun, for example: the client left first
        if response is not None:
            for closer in response._resource_closers:  # type: ignore[attr-defined]
                closer()
            response._resource_closers.clear()  # type: ignore[attr-defined]
            response.closed = True
        request.close()
        context = SyncToAsync.thread_sensitive_context.get(None)
        if context is not None and context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(signals.request_finished.send)(sender=type(self))


def _make_request(scope: Scope, intake: Intake) -> LeanRequest:
    try:
        return LeanRequest(scope, intake)
    except UnicodeDecodeError:
        # Still a request, so that the refusal goes through the middleware as every answer does.
        request = LeanRequest({**scope, "query_string": b""}, intake)
        request.is_readable = False
        return request


def _instantiate(path: str, get_response: GetResponse) -> GetResponse:
    """One middleware round `get_response`.

    Raises: ImproperlyConfigured: see `LeanHandler.load_middleware`.
    """
    factory = import_string(path)
    if not getattr(factory, "async_capable", False) or (
        isinstance(factory, type)
        and issubclass(factory, MiddlewareMixin)  # async outside, a thread for each hook inside
    ):
        raise ImproperlyConfigured(f"STREAMSITE_LEAN_MIDDLEWARE: {path} is not natively async")
    middleware: GetResponse = factory(get_response)
    if not iscoroutinefunction(middleware) and not iscoroutinefunction(type(middleware).__call__):
        raise ImproperlyConfigured(f"STREAMSITE_LEAN_MIDDLEWARE: {path} is not natively async")
    if unused := [hook for hook in _HOOKS if hasattr(middleware, hook)]:
        raise ImproperlyConfigured(f"STREAMSITE_LEAN_MIDDLEWARE: {path} has {unused[0]}, which is not called here")
    return middleware


def _answering_failures(get_response: GetResponse) -> GetResponse:
    """Round each layer: what it raises becomes a 500 that the layers outside see as a response, as in Django."""

    async def answer(request: LeanRequest) -> HttpResponseBase:
        try:
            return await get_response(request)
        except Exception:
            _logger.exception("request.failed", extra={"method": request.method, "path": request.path_info})
            await signals.got_request_exception.asend(sender=LeanHandler, request=request)
            return problem_response(
                ProblemError(500, "internal", "the server failed; its log has more under this request id")
            )

    return answer


def _encode_start(request: LeanRequest, response: HttpResponseBase) -> Message:
    """The `http.response.start` message."""
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    headers += [(b"Set-Cookie", cookie.OutputString().encode("ascii")) for cookie in response.cookies.values()]
    if (
        isinstance(response, HttpResponse)
        and not response.has_header("Content-Length")
        and request.method != "HEAD"  # the length would be that of GET, which only the view knows
        and response.status_code not in _WITHOUT_LENGTH
    ):
        headers.append((b"Content-Length", str(len(response.content)).encode("ascii")))
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}
