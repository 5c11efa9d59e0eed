"""The gate: what the head of a request has to be before an application sees it (RFC 9112).

llhttp parses, strictly: no folded lines, no bare CR or LF, no control characters, one Content-Length. What it lets pass
and two servers could read in two ways is refused here. Pure: bytes in, a `Head` or a `Refused` out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from .limits import Limits

__all__ = ["Head", "Refused", "check_head", "check_raw", "without_upgrade"]

Fields = list[tuple[bytes, bytes]]

_METHODS_REFUSED = frozenset({b"CONNECT", b"TRACE"})
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""A second one is where one server sees another request than the next: request smuggling (CWE-444)."""
_SEEN = _SINGLE | {b"connection", b"proxy-connection", b"expect", b"te", b"upgrade", b"x-request-id"}

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
"""RFC 9110, 7.2: host and port, without user, path or space."""
_TARGET = re.compile(rb"[!-\"$-~]+")
"""Visible ASCII without `#`: a fragment is never sent (RFC 9112, 3.2)."""
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9/_.~!$&'()*+,;=:@-]+")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^#]*)", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n\0]*", re.IGNORECASE)


class Refused(Exception):
    """A request that is answered by the server itself, and its connection closed.

    Args:
        status: of the answer. slug: of the problem's type. detail: what came, and what would be right.
    """

    def __init__(self, status: int, slug: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail


@dataclass(slots=True)
class Head:
    """A head that passed.

    Args:
        method, version: `version` is 1.1 or 1.0.
        raw_path, path, query: the target's parts; `path` is percent-decoded.
        fields: names in lower case; those with an underscore are left out, for `X_Forwarded_For` reads like another.
        body_bytes: -1 for a chunked body.
        keep_alive: whether the client wants to go on.
        expects_continue: whether it waits for `100 Continue` before its body.
        takes_trailers: whether it said `TE: trailers`.
        upgrade: the value of Upgrade where Connection names it, in lower case; empty otherwise.
        request_id: X-Request-ID as it came.
    """

    method: str
    version: str
    raw_path: bytes
    path: str
    query: bytes
    fields: Fields
    body_bytes: int
    keep_alive: bool
    expects_continue: bool
    takes_trailers: bool
    upgrade: bytes
    request_id: bytes


def check_raw(head: bytes, limits: Limits) -> None:
    """Check the size of a head that is complete, or of what has come of it.

    Args:
        head: from the first byte of the request line, with the empty line at its end when it is complete.

    Raises: Refused: 431, or 414 where the request line is to blame.
    """
    if len(head) > limits.line_bytes:
        line_end = head.find(b"\r\n")
        if line_end > limits.line_bytes or line_end < 0:
            raise Refused(414, "uri-too-long", f"the request line is longer than {limits.line_bytes} bytes")
        if len(head) > limits.head_bytes:
            raise Refused(431, "fields-too-large", f"the header fields have more than {limits.head_bytes} bytes")
        if max(map(len, head.split(b"\r\n"))) > limits.line_bytes:
            raise Refused(431, "fields-too-large", f"a header field has more than {limits.line_bytes} bytes")
    if head.count(b"\r\n") - 2 > limits.fields:
        raise Refused(431, "fields-too-large", f"there are more than {limits.fields} header fields")


def without_upgrade(head: bytes) -> bytes:
    """A head without its Upgrade field.

    llhttp ends the message at the head where it sees one, and leaves a body behind as the bytes of another protocol.
    Java's HttpClient sends `Upgrade: h2c` with each first request.
    """
    return _UPGRADE.sub(b"", head)


def check_head(method: bytes, target: bytes, version: str, fields: Fields, upgrade: bytes = b"") -> Head:
    """Check a head that llhttp has parsed.

    Args:
        fields: names in lower case, in their order.
        upgrade: the value of the Upgrade field, which is not among the fields.

    Raises: Refused.
    """
    if version not in ("1.1", "1.0"):
        raise Refused(505, "bad-request", f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    if method in _METHODS_REFUSED:
        raise Refused(400, "bad-request", f"the method {method.decode('ascii')} is not taken")
    kept, seen = _sort_out(fields)
    host = seen.get(b"host")
    if host is None and version == "1.1":
        raise Refused(400, "bad-request", "a request needs one Host field")
    if host is not None and _HOST.fullmatch(host) is None:
        raise Refused(400, "bad-request", "the Host field should be a name or an address, and a port")
    connection = seen.get(b"connection", b"").lower()
    options = {option.strip() for option in connection.split(b",")} if connection else set()
    if b"proxy-connection" in seen:  # llhttp obeys it as it does Connection
        options |= {option.strip() for option in seen[b"proxy-connection"].lower().split(b",")}
    expects_continue = False
    if (expected := seen.get(b"expect")) is not None and version == "1.1":
        if expected.lower() != b"100-continue":
            raise Refused(417, "expectation-failed", "the only expectation that is met here is 100-continue")
        expects_continue = True
    raw_path, path, query = _split_target(method, target, host)
    return Head(
        method.decode("ascii"),
        version,
        raw_path,
        path,
        query,
        kept,
        _body_bytes(seen, version),
        b"close" not in options if version == "1.1" else b"keep-alive" in options,
        expects_continue,
        b"te" in seen and _has_token(seen[b"te"], b"trailers") and version == "1.1",
        upgrade.lower() if b"upgrade" in options and version == "1.1" else b"",
        seen.get(b"x-request-id", b""),
    )


def _sort_out(fields: Fields) -> tuple[Fields, dict[bytes, bytes]]:
    """The fields that an application gets, and those that mean something to us."""
    seen: dict[bytes, bytes] = {}
    kept: Fields = []
    for field in fields:
        name, value = field
        if name in _SEEN:
            if name in seen:
                if name in _SINGLE:
                    raise Refused(400, "bad-request", f"there is more than one {name.decode('ascii')} field")
                value = seen[name] + b", " + value
            seen[name] = value
        elif b"_" in name:
            continue
        kept.append(field)
    return kept, seen


def _body_bytes(seen: dict[bytes, bytes], version: str) -> int:
    """How long the body is (RFC 9112, 6.3); -1 when it is chunked."""
    length, coding = seen.get(b"content-length"), seen.get(b"transfer-encoding")
    if coding is not None:
        if length is not None or version == "1.0" or coding.lower() != b"chunked":
            raise Refused(
                400, "bad-request", "a body's length is told by one Content-Length, or by chunked, in HTTP/1.1"
            )
        return -1
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise Refused(400, "bad-request", "Content-Length should be a number")
    return int(length)


def _split_target(method: bytes, target: bytes, host: bytes | None) -> tuple[bytes, str, bytes]:
    """Raw path, path and query of a target in origin, absolute or asterisk form (RFC 9112, 3.2)."""
    if _TARGET.fullmatch(target) is None:
        raise Refused(400, "bad-request", "the request target has a character that has to be percent-encoded")
    if target[0] != 0x2F:
        if target == b"*" and method == b"OPTIONS":
            return target, "*", b""
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            raise Refused(400, "bad-request", "the request target should begin with /")
        if host is not None and absolute[1].lower() != host.lower():
            raise Refused(400, "bad-request", "the request target names another host than the Host field")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    raw_path, _, query = target.partition(b"?")
    text = raw_path.decode("ascii")
    return raw_path, text if _PLAIN_PATH.fullmatch(raw_path) else unquote(text), query


def _has_token(value: bytes, token: bytes) -> bool:
    """Whether a list field has a member, whatever its parameters."""
    return any(part.split(b";", 1)[0].strip().lower() == token for part in value.split(b","))
