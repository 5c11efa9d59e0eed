"""Which request something belongs to: the id that travels from the client into log lines, problems and stored events.

The id is the client's own where it is harmless, so that one search finds a request in every system that it went
through. Trace contexts (W3C) are checked here too: what is stored beside an event or logged must be what it claims.
"""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["Accepted", "accept", "accept_traceparent", "current", "request_id"]

MAX_KEPT = 128
"""Characters of a refused id that are kept for the log."""

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._:-]{8,128}", re.ASCII)
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_KNOWN_FLAGS = 0x03  # sampled, random: all that level 2 of the recommendation defines

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that runs in this context; empty outside of one.

Set by the middleware and never reset: each request runs in a task of its own, and a response that streams is iterated
in that task after the middleware has returned. A task that outlives the request which started it carries the id on,
unless it is created with `context=contextvars.Context()`.
"""


class Accepted(NamedTuple):
    """What became of a client's id.

    Args:
        id: the request's id from here on.
        client_request_id: what the client sent, cut, where it was replaced; for the log only.
    """

    id: str
    client_request_id: str | None


def current() -> str:
    """The id of the request that runs in this context; empty outside of one."""
    return request_id.get()


def accept(raw: str | None) -> Accepted:
    """Take X-Request-ID as it is, or make a UUID4 instead of one that is missing, too short, too long or unsafe."""
    if raw is None:
        return Accepted(str(uuid.uuid4()), None)
    if _ACCEPTABLE.fullmatch(raw):
        return Accepted(raw, None)
    return Accepted(str(uuid.uuid4()), raw[:MAX_KEPT])


def accept_traceparent(raw: str | None) -> str:
    """Take a traceparent header as version 00, the one that we speak.

    Returns: 55 characters, or nothing where there was no valid one.
    Source: W3C Trace Context 2, 3.2 and 4.2.
    """
    if raw is None or (match := _TRACEPARENT.fullmatch(raw)) is None:
        return ""
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or not trace_id.strip("0") or not parent_id.strip("0"):
        return ""
    if version == "00":
        return "" if more else raw
    # A later version is read as far as we know it, and passed on as ours.
    return f"00-{trace_id}-{parent_id}-{int(flags, 16) & _KNOWN_FLAGS:02x}"
