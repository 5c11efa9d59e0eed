"""The answers that the server gives itself: RFC 9457 problem documents, and the connection closed."""

from __future__ import annotations

import orjson

from observability.request_id import accept
from streaming.api.problems import problem_document
from streaming.errors import RequestError

from . import framing

__all__ = ["encode_refusal", "refusal"]


def refusal(status: int, slug: str, detail: str, request_id: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Fields and body of an answer, without those that every answer has.

    Args:
        request_id: X-Request-ID as it came; another is made where it is missing or unsafe.
    """
    identity = accept(request_id.decode("latin-1") or None).id
    body = orjson.dumps(problem_document(RequestError(status, slug, detail)) | {"request_id": identity})
    fields = [
        (b"Content-Type", b"application/problem+json"),
        (b"Content-Length", b"%d" % len(body)),
        (b"Cache-Control", b"no-store"),
        (b"X-Request-ID", identity.encode("ascii")),
    ]
    return fields, body


def encode_refusal(status: int, slug: str, detail: str, request_id: bytes, server_field: bytes) -> bytes:
    """A whole answer in HTTP/1.1.

    Args:
        server_field: `Server: …` with its line end.
    """
    fields, body = refusal(status, slug, detail, request_id)
    return (
        framing.status_line(status)
        + framing.encode_fields([*fields, (b"Connection", b"close")])
        + framing.date_field()
        + server_field
        + b"\r\n"
        + body
    )
