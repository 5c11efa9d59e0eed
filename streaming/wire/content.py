"""Content types: which of three kinds a stream's data are, and whether two header values mean the same type.

The grammar is RFC 9110, 8.3.1; what the kinds mean is Durable Streams 9. Negotiation (what a reader accepts) is
`streaming/api`'s.
"""

from __future__ import annotations

import enum
import re
from functools import lru_cache

__all__ = ["ContentKind", "normalise_content_type", "same_content_type"]

MAX_CONTENT_TYPE_BYTES = 255
"""The longest real media types with parameters have some 120 bytes; the value comes back with every read."""

_TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_TYPE = re.compile(rf"({_TCHARS})/({_TCHARS})")
# One step of `parameters = *( OWS ";" OWS [ parameter ] )`: an empty parameter (`text/plain;`) is allowed.
_PARAMETER = re.compile(
    rf"[ \t]*;[ \t]*(?:(?P<name>{_TCHARS})=(?:(?P<token>{_TCHARS})"
    r'|"(?P<quoted>(?:[\t !#-\[\]-~]|\\[\t -~])*)"))?'
)
_QUOTED_PAIR = re.compile(r"\\(.)")
_NEEDS_ESCAPE = re.compile(r'(["\\])')
_TEXT_CHARSETS = {"utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "us-ascii"}


class ContentKind(enum.Enum):
    """How the data of a stream travel where the format is text."""

    JSON = "json"
    """Exactly application/json: one value an event, bodies are arrays (Durable Streams 9.1)."""
    TEXT = "text"
    """text/*: UTF-8."""
    BINARY = "binary"
    """Everything else: base64 where the format is text."""

    @classmethod
    def of(cls, content_type: str) -> ContentKind:
        """Tell the kind of a content type in any case, its parameters ignored."""
        return _kind_of(content_type)


def normalise_content_type(raw: str) -> str:
    """Check a Content-Type value and give it its one spelling.

    Type, subtype, parameter names and the charset come in lower case; parameters in the order they came, quoted only where
    a token can't say it.

    Raises: ValueError: not a media type, a range, a parameter twice, or text that is not UTF-8.
    """
    if len(raw) > MAX_CONTENT_TYPE_BYTES:
        raise ValueError(f"a content type has at most {MAX_CONTENT_TYPE_BYTES} bytes, got {len(raw)}")
    value = raw.strip(" \t")
    head = _TYPE.match(value)
    if head is None:
        raise ValueError(f"a content type is `type/subtype` and perhaps `; name=value`, got {raw!r}")
    major, minor = head[1].lower(), head[2].lower()
    if "*" in (major, minor):
        raise ValueError(f"a stream has one content type, not a range of them, got {raw!r}")
    parameters = _parse_parameters(value, head.end())
    if "charset" in parameters:
        parameters["charset"] = _check_charset(parameters["charset"], is_text=major == "text")
    return f"{major}/{minor}" + "".join(f"; {name}={_write_value(text)}" for name, text in parameters.items())


def same_content_type(a: str, b: str) -> bool:
    """Tell whether two values name the same type and subtype, in any case.

    Parameters are not compared: every client adds its own `charset`, and all text is UTF-8 here.
    """
    return a == b or _essence(a) == _essence(b)


@lru_cache(maxsize=512)
def _kind_of(content_type: str) -> ContentKind:
    essence = _essence(content_type)
    if essence == "application/json":
        return ContentKind.JSON
    return ContentKind.TEXT if essence.startswith("text/") else ContentKind.BINARY


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip(" \t").lower()


def _parse_parameters(value: str, start: int) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while start < len(value):
        step = _PARAMETER.match(value, start)
        if step is None:
            raise ValueError(f"a parameter of a content type is `; name=value`, got {value[start:]!r}")
        start = step.end()
        if step["name"] is None:
            continue
        name = step["name"].lower()
        if name in parameters:
            raise ValueError(f"the content type names the parameter {name!r} twice")
        quoted = step["quoted"]
        parameters[name] = step["token"] if quoted is None else _QUOTED_PAIR.sub(r"\1", quoted)
    return parameters


def _check_charset(charset: str, *, is_text: bool) -> str:
    lowered = charset.lower()
    if not is_text:
        return lowered
    known = _TEXT_CHARSETS.get(lowered)
    if known is None:
        # SSE and NDJSON are UTF-8 whatever the stream says; other text would reach readers garbled.
        raise ValueError(f"text is kept as utf-8 (or us-ascii), got charset {charset!r}")
    return known


def _write_value(text: str) -> str:
    if re.fullmatch(_TCHARS, text):
        return text
    return '"' + _NEEDS_ESCAPE.sub(r"\\\1", text) + '"'
