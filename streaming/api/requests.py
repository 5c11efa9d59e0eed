"""Requests into values: each field read once, by one grammar; what breaks it is refused with what would be right."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote

from django.http import HttpRequest

from streaming.durability import Durability
from streaming.errors import RequestError
from streaming.events import DEFAULT_TYPE
from streaming.log.outcome import CreateRequest, ForkRequest, Producer
from streaming.names import decode_name
from streaming.offsets import START
from streaming.retention import Retention
from streaming.wire.content import normalise_content_type

__all__ = [
    "content_type_of",
    "create_request",
    "durability_of",
    "event_type_of",
    "integer_parameter",
    "is_closing",
    "offset_of",
    "parameter",
    "prefix_of",
    "producer_of",
    "raw_path_of",
    "stream_name_from",
    "stream_seq_of",
    "traceparent_of",
]

MAX_SAFE_INTEGER = 2**53 - 1
"""Producer numbers are bounded by what JavaScript counts exactly (Durable Streams 5.2.1)."""
MAX_TTL_S = 10 * 366 * 86_400
MAX_TOKEN_BYTES = 256
"""Of Producer-Id and Stream-Seq: both are stored."""

_INTEGER = re.compile(r"0|[1-9][0-9]{0,15}", re.ASCII)
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)


def stream_name_from(request: HttpRequest, matched: str) -> str:
    """The stream's name, read from the raw path, because decoding has lost the difference between `/` and `%2F`.

    Args:
        matched: what the URL pattern matched of the decoded path: all that follows a prefix without percent signs.

    Raises: RequestError.
    """
    try:
        return decode_name(raw_path_of(request)[len(prefix_of(request, matched)) :])
    except ValueError as error:
        raise RequestError(400, "bad-name", str(error)) from error


def raw_path_of(request: HttpRequest) -> bytes:
    """The path as it was sent, percent signs and all; of a server that does not tell, encoded anew."""
    raw: bytes | None = getattr(request, "scope", {}).get("raw_path")
    return (raw or quote(request.path).encode()).partition(b"?")[0]


def prefix_of(request: HttpRequest, matched: str) -> str:
    """The path before the stream's name. It is plain text, so it is as long decoded as it was raw."""
    path_info = request.path_info
    script_name: str = request.META.get("SCRIPT_NAME", "")
    return script_name + path_info[: len(path_info) - len(matched)]


def parameter(request: HttpRequest, name: str) -> str | None:
    """A query parameter that may be given once.

    Raises: RequestError: it is given twice, or is not UTF-8.
    """
    values = request.GET.getlist(name)
    if len(values) > 1:
        raise RequestError(400, "bad-parameter", f"the parameter {name} is given {len(values)} times, once is right")
    if values and "\ufffd" in values[0] and not _is_utf8_query(request):
        # Django has put U+FFFD where bytes made no character: `DELETE /v1/streams?prefix=%ff` means no stream at all.
        raise RequestError(400, "bad-parameter", f"the parameter {name} is not percent-encoded UTF-8")
    return str(values[0]) if values else None


def integer_parameter(request: HttpRequest, name: str, most: int) -> int | None:
    """A query parameter that is a number from 1 on; what is above `most` becomes `most`.

    Raises: RequestError.
    """
    text = parameter(request, name)
    if text is None:
        return None
    if not _INTEGER.fullmatch(text) or text == "0":
        raise RequestError(400, "bad-parameter", f"{name} is a number from 1 to {most}, got {text[:64]!r}")
    return min(int(text), most)


def offset_of(request: HttpRequest) -> str | None:
    """Where a read begins: Last-Event-ID, which EventSource sends beside an unchanged URL, over `offset`.

    Raises: RequestError.
    """
    last_event_id = request.headers.get("Last-Event-ID")
    if last_event_id:
        return last_event_id
    offset = parameter(request, "offset")
    if offset == "":
        raise RequestError(400, "bad-offset", f"offset is empty; {START} is the start, now the end")
    return offset


def content_type_of(request: HttpRequest) -> str:
    """The Content-Type, normalised; empty when there is none.

    Raises: RequestError.
    """
    raw = request.META.get("CONTENT_TYPE", "")
    if not raw:
        return ""
    try:
        return normalise_content_type(raw)
    except ValueError as error:
        raise RequestError(400, "unsupported-media-type", str(error)) from error


def is_closing(request: HttpRequest) -> bool:
    """Whether Stream-Closed says true; every other value counts as absent (Durable Streams 4.1)."""
    return request.headers.get("Stream-Closed", "").lower() == "true"


def producer_of(request: HttpRequest) -> Producer | None:
    """The three producer fields, all or none (Durable Streams 5.2.1).

    Raises: RequestError.
    """
    fields = [request.headers.get(f"Producer-{part}") for part in ("Id", "Epoch", "Seq")]
    if fields == [None, None, None]:
        return None
    producer_id, epoch, seq = fields
    if producer_id is None or epoch is None or seq is None:
        missing = " and ".join(
            name
            for name, value in zip(("Producer-Id", "Producer-Epoch", "Producer-Seq"), fields, strict=True)
            if value is None
        )
        detail = f"Producer-Id, Producer-Epoch and Producer-Seq come together or not at all; {missing} is missing"
        raise RequestError(400, "bad-header", detail)
    _check_token("Producer-Id", producer_id)
    return Producer(producer_id, _producer_number("Producer-Epoch", epoch), _producer_number("Producer-Seq", seq))


def stream_seq_of(request: HttpRequest) -> str:
    """Stream-Seq; empty when there is none.

    Raises: RequestError.
    """
    value = request.headers.get("Stream-Seq")
    if value is None:
        return ""
    _check_token("Stream-Seq", value)
    return value


def event_type_of(request: HttpRequest) -> str:
    """Stream-Event-Type, not checked yet; `message` when there is none.

    Raises: RequestError: it is not UTF-8, which a header field is not by itself.
    """
    text = request.headers.get("Stream-Event-Type", DEFAULT_TYPE)
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError as error:
        raise RequestError(
            400, "bad-event-type", f"Stream-Event-Type is to be sent as UTF-8, got {text[:64]!r}"
        ) from error


def durability_of(request: HttpRequest) -> str:
    """Stream-Durability; empty when there is none.

    Raises: RequestError.
    """
    text = request.headers.get("Stream-Durability", "")
    if not text:
        return ""
    try:
        return str(Durability.parse(text))
    except ValueError as error:
        raise RequestError(400, "bad-header", f"Stream-Durability: {error}") from error


def traceparent_of(request: HttpRequest) -> str:
    """The W3C trace context that the middleware accepted; empty when there is none."""
    return getattr(request, "traceparent", None) or ""


def create_request(request: HttpRequest, prefix: str) -> CreateRequest:
    """What a PUT asks for, without its body (Durable Streams 5.1, 4.2).

    Args:
        prefix: of the path, before a stream's name; `Stream-Forked-From` begins with it.

    Raises: RequestError.
    """
    ttl, expires = request.headers.get("Stream-TTL"), request.headers.get("Stream-Expires-At")
    if ttl is not None and expires is not None:
        raise RequestError(400, "bad-header", "Stream-TTL and Stream-Expires-At exclude each other; send one")
    durability = durability_of(request)
    retention = None
    if (text := request.headers.get("Stream-Retention")) is not None:
        try:
            retention = Retention.parse(text)
        except ValueError as error:
            raise RequestError(400, "bad-header", f"Stream-Retention: {error}") from error
    return CreateRequest(
        content_type=content_type_of(request),
        ttl_s=-1 if ttl is None else _ttl(ttl),
        expires_at_ms=0 if expires is None else _expires_at(expires),
        expires_text=expires or "",
        is_closed=is_closing(request),
        retention=retention,
        durability=Durability.parse(durability) if durability else None,
        fork=_fork(request, prefix),
    )


def _fork(request: HttpRequest, prefix: str) -> ForkRequest | None:
    source = request.headers.get("Stream-Forked-From")
    offset = request.headers.get("Stream-Fork-Offset")
    sub_offset = request.headers.get("Stream-Fork-Sub-Offset")
    if source is None:
        if offset is not None or sub_offset is not None:
            raise RequestError(
                400, "bad-header", "Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From"
            )
        return None
    if sub_offset is not None and not _INTEGER.fullmatch(sub_offset):
        raise RequestError(
            400, "bad-sub-offset", f"Stream-Fork-Sub-Offset is a number from 0 on, got {sub_offset[:64]!r}"
        )
    if offset == "":
        raise RequestError(400, "bad-offset", "Stream-Fork-Offset is empty; leave it out to fork at the tail")
    if not source.startswith(prefix):
        raise RequestError(
            400, "bad-header", f"Stream-Forked-From is a path that begins with {prefix}, got {source[:64]!r}"
        )
    try:
        name = decode_name(source[len(prefix) :].encode("latin-1"))
    except ValueError as error:
        raise RequestError(400, "bad-header", f"Stream-Forked-From: {error}") from error
    return ForkRequest(name, offset or "", int(sub_offset or 0))


def _is_utf8_query(request: HttpRequest) -> bool:
    try:
        parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def _ttl(text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > MAX_TTL_S:
        raise RequestError(
            400, "bad-header", f"Stream-TTL is whole seconds from 0 to {MAX_TTL_S} in plain digits, got {text[:64]!r}"
        )
    return int(text)


def _expires_at(text: str) -> int:
    error = RequestError(
        400, "bad-header", f"Stream-Expires-At is a time such as 2030-01-31T12:00:00Z (RFC 3339), got {text[:64]!r}"
    )
    if not _RFC3339.fullmatch(text):
        raise error
    try:
        moment = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as cause:  # the second: in UTC it is outside of the years 1 to 9999
        raise error from cause
    return max(1, int(moment.timestamp() * 1000))


def _producer_number(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text) or int(text) > MAX_SAFE_INTEGER:
        raise RequestError(
            400, "bad-header", f"{name} is a number from 0 to {MAX_SAFE_INTEGER} in plain digits, got {text[:64]!r}"
        )
    return int(text)


def _check_token(name: str, value: str) -> None:
    if not value or len(value.encode()) > MAX_TOKEN_BYTES or not value.isprintable():
        got = repr(value) if len(value) <= 64 else f"{len(value.encode())} bytes beginning with {value[:64]!r}"
        raise RequestError(400, "bad-header", f"{name} is 1 to {MAX_TOKEN_BYTES} bytes of printable text, got {got}")
