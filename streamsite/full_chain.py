"""Django's full chain behind the same gate as the rest: one grammar of paths, and bodies under a limit.

Django decodes a path once and replaces what is not UTF-8, so that two addresses become one page, and it takes a body
of any length into a file before it looks for the view. Both are decided here, before Django sees the request.
"""

from __future__ import annotations

from django.conf import settings
from django.http.response import HttpResponseBase

from streaming.api.problems import problem_response
from streaming.errors import ProblemError, RequestError
from streamsite.handler import LeanHandler, LeanRequest, raw_path, too_large
from streamsite.intake import declared_length
from streamsite.types import Application, Message, Receive, Scope, Send

__all__ = ["FullChain", "check_path"]

_REFUSAL = "streamsite.refusal"
_HEX = frozenset(b"0123456789abcdefABCDEF")


class FullChain:
    """Refuses what Django would take; the answers are problem documents, with id and log line as any other.

    Args:
        application: Django's own handler.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._refusals = _Refusals()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        max_bytes: int = settings.STREAMING["MAX_BODY_BYTES"]
        declared_bytes = declared_length(scope["headers"])
        refusal: ProblemError | None = None
        try:
            check_path(raw_path(scope))
        except ValueError as error:
            refusal = RequestError(400, "bad-request", str(error))
        else:
            if declared_bytes is not None and declared_bytes > max_bytes:
                refusal = too_large(f"the body has {declared_bytes} bytes, at most {max_bytes} are allowed", scope)
        if refusal is None:
            body = _BoundedBody(receive, max_bytes)
            await self._application(scope, body.receive, send)
            if not body.is_too_large:
                return
            refusal = too_large(f"the body has more than the {max_bytes} bytes that are allowed", scope)
        await self._refusals({**scope, _REFUSAL: refusal}, receive, send)


def check_path(raw: bytes) -> None:
    """Refuse a path that could be read in two ways.

    Args:
        raw: still percent-encoded, without query.

    Raises: ValueError: says what is wrong.
    """
    parts = raw.split(b"%")
    for part in parts[1:]:
        if len(part) < 2 or part[0] not in _HEX or part[1] not in _HEX:
            raise ValueError("a % in the path is not followed by two hex digits")
    try:
        path = (parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])).decode()
    except UnicodeDecodeError as error:
        raise ValueError("the path is not UTF-8") from error
    if any(character < " " or "\x7f" <= character < "\xa0" for character in path):
        raise ValueError("the path holds a control character")
    segments = path.split("/")
    if "." in segments or ".." in segments:
        raise ValueError("the path has a segment '.' or '..'")


class _BoundedBody:
    """A request's `receive` up to a limit; past it Django, which answers only with the whole body, hears of an end."""

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._left_bytes = max_bytes
        self.is_too_large = False

    async def receive(self) -> Message:
        """The next message."""
        if self.is_too_large:
            return {"type": "http.disconnect"}
        message = await self._receive()
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            self.is_too_large = True
            return {"type": "http.disconnect"}
        return message


class _Refusals(LeanHandler):
    """Answers with the problem that it finds in the scope."""

    async def _call_view(self, request: LeanRequest) -> HttpResponseBase:
        return problem_response(request.scope[_REFUSAL])
