"""Errors into answers: RFC 9457 problem documents, made in this one place."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import orjson
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from observability import request_id
from streaming.errors import ProblemError, StreamsiteError

__all__ = ["TITLES", "problem_document", "problem_response", "with_problems"]

View = Callable[..., Coroutine[Any, Any, HttpResponseBase]]
logger = logging.getLogger("streamsite.api")

TITLES: Mapping[str, str] = {
    "bad-event-type": "The event type can't be used",
    "bad-header": "A header field has a value that can't be used",
    "bad-host": "The site is not served under this name",
    "bad-json": "The body is not the JSON it should be",
    "bad-name": "The stream's name breaks the grammar",
    "bad-offset": "The offset can't be used",
    "bad-parameter": "A query parameter has a value that can't be used",
    "bad-request": "The request breaks the rules of HTTP",
    "bad-sub-offset": "The fork's sub-offset can't be used",
    "bad-text": "The body is not UTF-8",
    "closed": "The site is closed",
    "content-type-mismatch": "The content type is not the stream's",
    "draining": "This process is stopping",
    "durability-unavailable": "This server can't give that durability",
    "empty-array": "An empty array appends nothing",
    "empty-body": "The body is empty",
    "encoded-body": "The body is compressed",
    "event-corrupt": "A stored event is damaged",
    "expectation-failed": "The expectation can't be met",
    "fields-too-large": "The header fields are too large",
    "forbidden": "This is not allowed",
    "fork-expired": "Making the fork took too long",
    "fork-too-deep": "The chain of forks is too long",
    "internal": "The server failed",
    "method-not-allowed": "The method is not allowed here",
    "not-acceptable": "None of the accepted formats fits the stream",
    "not-found": "There is no such stream or page",
    "offset-gone": "Retention removed what follows the offset",
    "outcome-unknown": "Whether the append happened is unknown",
    "overloaded": "Too many appends wait already",
    "producer-epoch-start": "A new epoch begins with seq 0",
    "producer-fenced": "A newer epoch of this producer has taken over",
    "producer-gap": "A seq of this producer is missing",
    "request-timeout": "The request came too slowly",
    "sequence-regression": "Stream-Seq does not rise",
    "source-changing": "The source was changed while it was forked",
    "source-deleted": "The source of the fork was deleted",
    "store-full": "The store is full",
    "store-readonly": "The store refuses writes",
    "store-unavailable": "The store can't be reached",
    "stream-closed": "The stream is closed",
    "stream-deleted": "The stream was deleted",
    "stream-exists": "The stream is there already, but otherwise",
    "stream-gone": "The stream was deleted or has expired",
    "stream-rewound": "The log no longer holds the event of that offset",
    "too-large": "The event or the body is too large",
    "too-many-producers": "The stream remembers no more producers",
    "unconfirmed": "The append is written, but not as safe as asked",
    "unsupported-media-type": "The content type can't be used",
    "uri-too-long": "The address is too long",
}
"""Every problem type and its title. The anchors of docs/reference/errors.md are these names."""


def problem_document(error: ProblemError) -> dict[str, Any]:
    """The document for an error (RFC 9457, 3), with the id of the request that it answers."""
    return {
        "type": f"/problems/{error.slug}",
        "title": TITLES[error.slug],
        "status": error.status,
        "detail": error.detail,
        "request_id": request_id.current(),
        **error.members,
    }


def problem_response(error: ProblemError) -> HttpResponse:
    """The answer for an error."""
    response = HttpResponse(
        orjson.dumps(problem_document(error)), status=error.status, content_type="application/problem+json"
    )
    response["Cache-Control"] = "no-store"
    for name, value in error.headers.items():
        response[name] = value
    return response


def with_problems(view: View) -> View:
    """Let a view raise what it means: its errors become problem documents, anything else one without detail."""

    @functools.wraps(view)
    async def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            return await view(request, *args, **kwargs)
        except ProblemError as error:
            return problem_response(error)
        except SuspiciousOperation as error:
            return problem_response(ProblemError(400, "bad-parameter", str(error)))
        except StreamsiteError as error:
            logger.warning("request.refused", extra={"error": str(error)})
            return problem_response(
                ProblemError(503, "store-unavailable", "the store can't be used; the log of the site says why")
            )
        except Exception:
            logger.exception("request.failed")
            return problem_response(
                ProblemError(500, "internal", "the log of the site has the details under this request_id")
            )

    return answered
