"""A stream as a file, and back: NDJSON, one event a line.

The first line says what the stream is, `{"stream": …, "content_type": …}`; then come the events, each as the server's
own NDJSON has it; a closed stream ends with `{"closed": true, …}`. Data and types come back as they were. Offsets and
times are the new stream's own: the server chooses them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
import orjson

from streaming.client import (
    ClientError,
    Listener,
    Producer,
    Reader,
    Site,
    StreamMissing,
    create_stream,
    describe_stream,
    is_json,
)
from streaming.client.lines import LineSplitter, LineTooLong

from .event_output import encode_line

__all__ = ["ImportFailed", "export_stream", "import_stream", "whole_file"]

_CHUNK_BYTES = 1024 * 1024
_LINE_BYTES = 64 * 1024 * 1024


class ImportFailed(ClientError):
    """The file is no export, or the stream is not fit to take it."""


class _Line(msgspec.Struct, frozen=True):
    stream: str = ""
    content_type: str = ""
    type: str = "message"
    data: msgspec.Raw = msgspec.Raw()
    encoding: str = ""
    closed: bool = False


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode


async def export_stream(site: Site, name: str, out: BinaryIO, listener: Listener) -> int:
    """Write all events that the stream holds now; return how many.

    Raises: ClientError: not all could be read.
    """
    info = await describe_stream(site, name)
    out.write(orjson.dumps({"stream": name, "content_type": info.content_type}, option=orjson.OPT_APPEND_NEWLINE))
    reader = Reader(site, name, follow=False, listener=listener)
    holds_json = is_json(info.content_type)
    count = 0
    async with contextlib.aclosing(reader.events()) as events:
        async for event in events:
            if event is not None:
                out.write(encode_line(event, holds_json=holds_json))
                count += 1
    if reader.is_closed:
        out.write(orjson.dumps({"closed": True, "offset": reader.position}, option=orjson.OPT_APPEND_NEWLINE))
    out.flush()
    if reader.damaged:
        raise ClientError(f"{reader.damaged} damaged events are not in the export")
    return count


async def import_stream(
    site: Site,
    name: str,
    source: BinaryIO,
    *,
    content_type: str | None,
    appends: bool,
    producer_id: str | None,
    listener: Listener,
) -> int:
    """Append what an export holds to a stream, each event once; return how many.

    Args:
        content_type: of the new stream; None takes what the file says.
        appends: the stream may hold events already, and stays open.

    Raises:
        ImportFailed: the file can't be read, or the stream isn't fit.
        ClientError: the server refused.
    """
    lines = _read_lines(source)
    number, first = next(lines, (1, _Line()))
    wanted = content_type or first.content_type
    if not wanted:
        raise ImportFailed("the file does not say its content type; name it with --content-type")
    actual = await _prepare(site, name, wanted, appends=appends)
    count = 0
    async with Producer(site, name, actual, producer_id=producer_id, listener=listener) as producer:
        entries = lines if first.stream else itertools.chain([(number, first)], lines)
        for at, line in entries:
            if line.closed:
                if not appends:
                    await producer.close_stream()
                break
            await producer.append(_read_data(line, at, holds_json=is_json(actual)), type=line.type)
            count += 1
    return count


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name only once it is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as out:
        yield out
    part.replace(path)


async def _prepare(site: Site, name: str, content_type: str, *, appends: bool) -> str:
    """Make the stream, or see that the one there is fit; return its content type."""
    try:
        info = await describe_stream(site, name)
    except StreamMissing:
        return (await create_stream(site, name, content_type))[0].content_type
    if info.closed:
        raise ImportFailed(f"{name} is closed")
    if is_json(info.content_type) != is_json(content_type):
        raise ImportFailed(f"{name} holds {info.content_type}, the file {content_type}")
    if not appends and not await _is_empty(site, name):
        raise ImportFailed(f"{name} holds events already; add to them with --append, or remove it first")
    return info.content_type


async def _is_empty(site: Site, name: str) -> bool:
    async with contextlib.aclosing(Reader(site, name, follow=False).events()) as events:
        async for event in events:
            if event is not None:
                return False
    return True


def _read_lines(source: BinaryIO) -> Iterator[tuple[int, _Line]]:
    splitter = LineSplitter(_LINE_BYTES)
    number = 0
    try:
        while chunk := source.read(_CHUNK_BYTES):
            for text in splitter.feed(chunk):
                number += 1
                if text.strip():
                    yield number, _decode_line(text)
        number += 1
        if rest := splitter.take_rest().strip():
            yield number, _decode_line(rest)
    except (msgspec.MsgspecError, UnicodeError, LineTooLong) as error:
        raise ImportFailed(f"line {number} of the file is no exported event: {error}") from error


def _read_data(line: _Line, number: int, *, holds_json: bool) -> bytes:
    try:
        if holds_json:
            data = bytes(line.data)
        elif line.encoding == "base64":
            data = base64.b64decode(_decode_text(line.data), validate=True)
        else:
            data = _decode_text(line.data).encode()
    except (msgspec.MsgspecError, binascii.Error, UnicodeError) as error:
        raise ImportFailed(f"line {number} of the file holds no data that fit: {error}") from error
    if not data:
        raise ImportFailed(f"line {number} of the file holds no data")
    return data
