"""What can go wrong for a client, as types: who is to blame, and whether sending the same again can help.

    ClientError
    ├── UsageError        the caller's own mistake: an address, a key or a value that can't be sent
    ├── NoAnswer          nothing (whole) came back; the request may have been carried out
    │   └── NotSent       the connection was never made: it was not
    ├── ProblemAnswer     the server refused: status and problem document
    │   ├── StreamMissing     404
    │   ├── StreamGone        410: deleted, or the offset is not in the log any more
    │   ├── StreamIsClosed    409 with Stream-Closed
    │   ├── ProducerFenced    403 with Producer-Epoch: another producer has this id now
    │   └── SequenceGap       409 with Producer-Expected-Seq
    ├── BadAnswer         the server answered in a way that the protocol does not allow
    └── GaveUp            the time for retries is over; the last failure is its cause

`answer_error` is the one place where an HTTP answer becomes one of these.
"""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

__all__ = [
    "BadAnswer",
    "ClientError",
    "GaveUp",
    "NoAnswer",
    "NotSent",
    "ProblemAnswer",
    "ProducerFenced",
    "SequenceGap",
    "StreamGone",
    "StreamIsClosed",
    "StreamMissing",
    "UsageError",
    "answer_error",
    "read_problem",
]

_RETRYABLE_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
"""Answers that time can change. 507 is among them: a full store has room again after a trim."""
_UNCERTAIN_STATUS = frozenset({408, 500, 502, 503, 504})
"""Answers after which the request may have been carried out: `outcome-unknown`, or a gateway that lost sight of it."""
_REASONS = {
    401: "a key is needed (--key or STREAMSITE_KEY)",
    403: "not allowed with this key",
    404: "there is no such stream",
    405: "this server does not do that",
    410: "the stream was deleted, or no longer holds that place",
}
"""For an answer without a body, as each answer to HEAD is."""
_DETAIL_CHARACTERS = 500
"""Of a body that is no problem document; an HTML error page would fill the screen."""


class ClientError(Exception):
    """Base of every error that the client raises on purpose."""

    is_retryable = False
    """Sending the same request again may help."""
    is_uncertain = False
    """The request may have been carried out all the same."""
    retry_after_s: float | None = None
    """Wait that the server asked for."""


class UsageError(ClientError):
    """The caller's own mistake; nothing was sent."""


class NoAnswer(ClientError):
    """No (whole) answer came: reset, cut or too late."""

    is_retryable = True
    is_uncertain = True


class NotSent(NoAnswer):
    """The connection could not be made, so the request reached nobody."""

    is_uncertain = False


class BadAnswer(ClientError):
    """The server answered in a way that the protocol does not allow."""


class GaveUp(ClientError):
    """The time for retries is over."""


class ProblemAnswer(ClientError):
    """The server refused.

    Args:
        status: the HTTP status.
        slug: last part of the problem's `type`; empty when the body was no problem document.
        detail: the server's words for a person.
        request_id: to find the request in the server's log; may be empty.
        members: all members of the problem document.
        headers: of the answer, names in lower case.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        request_id: str = "",
        members: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.request_id = request_id
        self.members = dict(members or {})
        self.headers = dict(headers or {})
        self.is_retryable = status in _RETRYABLE_STATUS
        self.is_uncertain = status in _UNCERTAIN_STATUS
        self.retry_after_s = _read_retry_after(self.headers.get("retry-after"))

    def __str__(self) -> str:
        name = f"{self.status} {self.slug}" if self.slug else str(self.status)
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"the server answered {name}: {self.detail}{request}"


class StreamMissing(ProblemAnswer):
    """There is no such stream."""


class StreamGone(ProblemAnswer):
    """The stream is deleted, or no longer holds the offset; `members` may say from where it can be read."""


class StreamIsClosed(ProblemAnswer):
    """The stream takes no more events."""


class ProducerFenced(ProblemAnswer):
    """The server knows a newer epoch of this producer id."""

    @property
    def current_epoch(self) -> int:
        """The epoch that the server holds."""
        return int(self.headers["producer-epoch"])


class SequenceGap(ProblemAnswer):
    """The server has not seen an earlier sequence number of this producer."""

    @property
    def expected_seq(self) -> int:
        """The number that the server would take next."""
        return int(self.headers["producer-expected-seq"])


def answer_error(status: int, headers: Mapping[str, str], body: bytes) -> ProblemAnswer:
    """Make the error for an answer that is not a success.

    Args:
        headers: any mapping that finds names in lower case.
        body: read whole; a problem document (RFC 9457) or whatever a proxy sent.
    """
    lower = {name.lower(): value for name, value in headers.items()}
    members = read_problem(body)
    slug = str(members.get("type", "")).rstrip("/").rpartition("/")[2].replace("about:blank", "")
    text = str(members.get("detail") or members.get("title") or "")
    body_text = body[: _DETAIL_CHARACTERS * 4].decode("utf-8", "replace").strip()[:_DETAIL_CHARACTERS]
    detail = text or body_text or _REASONS.get(status, "no reason given")
    request_id = str(members.get("request_id") or lower.get("x-request-id", ""))
    kind = _kind(status, lower)
    return kind(status, slug, detail, request_id=request_id, members=members, headers=lower)


def read_problem(body: bytes) -> dict[str, Any]:
    """The members of a problem document; empty when the body is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _kind(status: int, headers: Mapping[str, str]) -> type[ProblemAnswer]:
    if status == 404:
        return StreamMissing
    if status == 410:
        return StreamGone
    if status == 403 and headers.get("producer-epoch", "").isdecimal():
        return ProducerFenced
    if status == 409 and headers.get("stream-closed", "").lower() == "true":
        return StreamIsClosed
    if status == 409 and headers.get("producer-expected-seq", "").isdecimal():
        return SequenceGap
    return ProblemAnswer


def _read_retry_after(value: str | None) -> float | None:
    """Seconds or an HTTP date (RFC 9110, 10.2.3); what is neither is not obeyed."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, when.timestamp() - time.time())
