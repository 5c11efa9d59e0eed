"""Stream names: one grammar, read once from the raw path. Pure.

A name is one or more segments joined by `/`. It is percent-decoded exactly once and never normalised; what does not fit
the grammar is refused, so that two URLs never mean one stream and one URL never means two.
"""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

__all__ = ["MAX_NAME_BYTES", "RESERVED_SEGMENT", "check_name", "decode_name", "quote_name"]

MAX_NAME_BYTES = 255
"""In UTF-8. File systems and Kafka bound names alike; it keeps a key, a log line and a URL short."""
RESERVED_SEGMENT = "__ds"
"""First segment of the protocol's control interface (Durable Streams 6.1)."""

_HEX = frozenset(b"0123456789abcdefABCDEF")
_SAFE = "/-._~!$&'()*+,;=:@"


def decode_name(raw: bytes) -> str:
    """Read a stream's name from the part of a raw request path that holds it.

    Args:
        raw: still percent-encoded, without query.

    Raises: ValueError: says what came and what would be right.
    """
    if b"%" not in raw:
        decoded = raw
    else:
        parts = raw.split(b"%")
        for part in parts[1:]:
            if len(part) < 2 or part[0] not in _HEX or part[1] not in _HEX:
                raise ValueError("a % in the name is not followed by two hex digits")
            if part[:2].lower() == b"2f":
                raise ValueError("a name may not hold an encoded slash (%2F); write the slash itself between segments")
        decoded = parts[0] + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in parts[1:])
    try:
        name = decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("the name is not valid UTF-8") from error
    check_name(name)
    return name


def check_name(name: str) -> None:
    """Refuse a decoded name that breaks the grammar.

    Raises: ValueError: says what came and what would be right.
    """
    if not name:
        raise ValueError("the name is empty")
    if (size := len(name.encode("utf-8", "surrogatepass"))) > MAX_NAME_BYTES:
        raise ValueError(f"the name has {size} bytes, at most {MAX_NAME_BYTES} are allowed")
    for character in name:
        if not " " < character < "\x7f" and unicodedata.category(character)[0] in "CZ":
            raise ValueError(
                f"the name holds U+{ord(character):04X}: spaces, controls and invisible characters are not allowed"
            )
        if character == "\\":
            raise ValueError("the name holds a backslash; segments are joined by /")
    segments = name.split("/")
    if "" in segments:
        raise ValueError("the name has an empty segment: no slash first, last or twice in a row")
    if "." in segments or ".." in segments:
        raise ValueError("the name has a segment '.' or '..'")
    if segments[0] == RESERVED_SEGMENT:
        raise ValueError(f"names below {RESERVED_SEGMENT}/ are reserved by the protocol")


def quote_name(name: str) -> str:
    """The name as it is written in a URL path; `decode_name` gives it back."""
    return quote(name, safe=_SAFE)
