"""JSON mode: bodies into values and values into bodies, byte for byte (Durable Streams 9.1; NDJSON).

orjson validates, `msgspec.Raw` cuts: no value is written anew, so digits, duplicate keys, escapes and inner white space
stay as they were sent.
"""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["MAX_DEPTH", "JsonRefused", "TooManyEvents", "check_json", "join_json", "split_json", "split_ndjson"]

MAX_DEPTH = 1_023
"""Of one event. orjson reads 1,024 levels, and every page and every NDJSON line wraps the event in one more."""

_SPACE = b" \t\r\n"
_VALUES = msgspec.json.Decoder(list[msgspec.Raw])
_RECURSION_LOCK = threading.Lock()


class JsonRefused(ValueError):
    """A body that can't become events.

    Args:
        detail: what is wrong, for the caller.
        line: the bad line of an NDJSON body, counted from 1; None for a JSON body.
    """

    def __init__(self, detail: str, line: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.line = line


class TooManyEvents(JsonRefused):
    """The body is well formed so far, but holds more events than one append may."""


def split_json(body: bytes, max_events: int) -> list[bytes]:
    """Cut a body into its events: the elements of an array, exactly one level, or the one value that it is.

    Returns: the values as sent, without the space around them; empty for `[]`.
    Raises: JsonRefused: empty, not JSON, a number no double can hold, or nested too deep. TooManyEvents: more than
        max_events.
    Cost: validating takes 1 to 30 ms a MB, cutting 1 to 5.
    """
    body = body.strip(_SPACE)
    if not body.startswith(b"["):
        return [check_json(body)]
    with _no_collection():
        try:
            count = len(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise JsonRefused(f"the body is not valid JSON: {error}") from error
    if count > max_events:
        raise TooManyEvents(f"at most {max_events} events fit in one append, the array has {count}")
    try:
        return [bytes(value) for value in _VALUES.decode(body)]
    except RecursionError:
        with _deeper_recursion():
            return [bytes(value) for value in _VALUES.decode(body)]


def check_json(value: bytes) -> bytes:
    """Check a body that is one event whatever it is, an array too.

    Returns: the value as sent, without the space around it.
    Raises: JsonRefused: as in `split_json`.
    """
    value = value.strip(_SPACE)
    if not value:
        raise JsonRefused("the body is empty, expected a JSON value")
    with _no_collection():
        try:
            _validate_event(value)
        except orjson.JSONDecodeError as error:
            raise JsonRefused(f"the body is not valid JSON: {error}") from error
    return value


def split_ndjson(body: bytes, max_events: int) -> list[bytes]:
    """Cut a body into its lines, each a JSON value and one event; an array on a line is one event.

    Lines end with LF or CRLF, the last one may lack it; blank lines are skipped.

    Returns: the values as sent, without the space around them; empty if all lines are blank.
    Raises: JsonRefused: with the line that is not JSON. TooManyEvents: with the first line too many.
    """
    events: list[bytes] = []
    with _no_collection():
        for number, line in enumerate(body.split(b"\n"), start=1):
            value = line.strip(_SPACE)
            if not value:
                continue
            if len(events) == max_events:
                raise TooManyEvents(f"at most {max_events} events fit in one append, line {number} is one more", number)
            try:
                _validate_event(value)
            except orjson.JSONDecodeError as error:
                raise JsonRefused(
                    f"line {number} is not valid JSON: {error.msg} (column {error.colno})", number
                ) from error
            events.append(value)
    return events


def join_json(events: Sequence[bytes]) -> bytes:
    """Make the body of a read: a JSON array of all events, `[]` for none."""
    return b"[" + b",".join(events) + b"]"


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the cyclic collector out while orjson builds trees that are dropped at once.

    They hold no cycles, so it could find nothing; with it 1 MB of `[],[],…` takes 60 ms, without 27.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _validate_event(value: bytes) -> None:
    orjson.loads(value)
    # Only a value with that many brackets can be that deep; wrapped, it must still be readable.
    if value.count(b"[") + value.count(b"{") > MAX_DEPTH:
        orjson.loads(b"[" + value + b"]")


@contextmanager
def _deeper_recursion() -> Iterator[None]:
    """Let C code recurse as deep as orjson has let the body be nested.

    msgspec counts each level as a frame of the interpreter's 1,000 (CPython 3.11), so how deep it can go differs from caller to
    caller. A cutter in Python without recursion took 800 ms a MB where this takes 5.
    """
    with _RECURSION_LOCK:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(before + 2 * MAX_DEPTH)
        try:
            yield
        finally:
            sys.setrecursionlimit(before)
