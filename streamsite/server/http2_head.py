"""The gate of HTTP/2: fields that h2 has unpacked, to the same `Head` that HTTP/1.1 has, or refused (RFC 9113, 8.3).

h2 has refused by now what breaks the protocol itself: fields of the connection, capitals, CR, LF and NUL, pseudo-fields
that are missing, doubled or misplaced, an authority and a Host that differ. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .gate import Fields, Head, Refused, check_head
from .limits import Limits

__all__ = ["ENTRY_BYTES", "check_fields"]

ENTRY_BYTES = 32
"""What a field counts beside its name and value (RFC 7541, 4.1)."""

_METHOD = re.compile(rb"[A-Z][A-Z-]{0,31}")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_NOT_IN_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


def check_fields(fields: Iterable[tuple[bytes, bytes]], limits: Limits) -> tuple[Head, int | None]:
    """Check the fields of a request.

    Returns: the head, and what Content-Length says.
    Raises: Refused.
    """
    pseudo, regular = _sort_out(fields, limits)
    authority = pseudo.get(b":authority")
    if authority is not None:
        if any(name == b"host" and value.lower() != authority.lower() for name, value in regular):
            raise Refused(400, "bad-request", "Host and :authority name different hosts")
        regular = [(b"host", authority), *(field for field in regular if field[0] != b"host")]
    method, target = pseudo[b":method"], pseudo.get(b":path", b"")
    if _METHOD.fullmatch(method) is None:
        raise Refused(400, "bad-request", "the method should be a word in capitals")
    if pseudo.get(b":scheme") not in (b"https", b"http"):
        raise Refused(400, "bad-request", "the scheme should be https")
    if target[:1] != b"/" and target != b"*":
        raise Refused(400, "bad-request", "the request target should begin with /")
    head = check_head(method, target, "1.1", regular)
    head.version = "2"
    announced = next((int(value) for name, value in head.fields if name == b"content-length"), None)
    return head, announced


def _sort_out(fields: Iterable[tuple[bytes, bytes]], limits: Limits) -> tuple[dict[bytes, bytes], Fields]:
    """Pseudo-fields and the others."""
    pseudo: dict[bytes, bytes] = {}
    regular: Fields = []
    size = 0
    for name, value in fields:
        size += len(name) + len(value) + ENTRY_BYTES
        if len(name) + len(value) > limits.line_bytes:
            if name == b":path":
                raise Refused(414, "uri-too-long", f"the request target is longer than {limits.line_bytes} bytes")
            raise Refused(431, "fields-too-large", f"a header field has more than {limits.line_bytes} bytes")
        if name[0] == 0x3A:
            pseudo[name] = value
            continue
        if _NAME.fullmatch(name) is None or _NOT_IN_VALUE.search(value) is not None:
            raise Refused(400, "bad-request", "a header field has a character that may not be there")
        regular.append((name, value))
    if len(regular) > limits.fields:
        raise Refused(431, "fields-too-large", f"there are more than {limits.fields} header fields")
    if size > limits.head_bytes:
        raise Refused(431, "fields-too-large", f"the header fields have more than {limits.head_bytes} bytes")
    return pseudo, regular
