"""Events on stdout: as NDJSON, as lines made safe for a terminal, or as they are.

Written in whole events, flushed each: whoever reads a pipe gets an event when it comes.
"""

from __future__ import annotations

import base64
import codecs
import select
import sys
from typing import BinaryIO

import orjson

from streaming.client import ReadEvent, is_json

from .console import neutralise, neutralise_json

__all__ = ["EventOutput", "encode_line", "reader_has_left"]


class EventOutput:
    """Writes events in one form.

    Args:
        out: where to.
        content_type: the stream's.
        as_json: one JSON object a line, as our server's NDJSON.
        is_raw: leave terminal escapes as they are.
    """

    def __init__(self, out: BinaryIO, content_type: str, *, as_json: bool, is_raw: bool) -> None:
        self._out = out
        self._holds_json = is_json(content_type)
        self._holds_text = content_type.lower().startswith("text/")
        self._as_json = as_json
        self._is_raw = is_raw
        # A piece may end in the middle of a character.
        self._decode_piece = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode

    def write(self, event: ReadEvent) -> None:
        """Write one event and flush.

        Raises: BrokenPipeError: nobody reads any more.
        """
        self._out.write(self._encode(event))
        self._out.flush()

    def _encode(self, event: ReadEvent) -> bytes:
        if self._as_json:
            line = encode_line(event, holds_json=self._holds_json)
            return line if self._is_raw else neutralise_json(line.decode()).encode()
        if event.is_piece:
            return event.data if self._is_raw else neutralise(self._decode_piece(event.data)).encode()
        if self._is_raw:
            is_line = self._holds_json or self._holds_text
            return _as_line(event.data) if is_line else event.data
        text = event.data.decode("utf-8", "backslashreplace").removesuffix("\r\n")
        return _as_line(neutralise(text).encode())


def encode_line(event: ReadEvent, *, holds_json: bool) -> bytes:
    """One line of NDJSON, in the form that our server gives; what a foreign server doesn't say is left out."""
    known = {"offset": event.offset, "type": event.type, "time": event.time}
    head = orjson.dumps({name: value for name, value in known.items() if value})[:-1] + b',"data":'
    if holds_json:
        return head + event.data + b"}\n"
    try:
        return head + orjson.dumps(event.data.decode()) + b"}\n"
    except UnicodeDecodeError:
        return head + b'"' + base64.b64encode(event.data) + b'","encoding":"base64"}\n'


def reader_has_left() -> bool:
    """Whether the pipe behind stdout has no reader any more; a writer that is idle would not notice."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(flags & (select.POLLERR | select.POLLHUP) for _, flags in poll.poll(0))


def _as_line(data: bytes) -> bytes:
    return data if data.endswith(b"\n") else data + b"\n"
