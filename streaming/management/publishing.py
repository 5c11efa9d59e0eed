"""From a line source into a stream: the work of `manage.py publish`, without its options.

The stream is found or made, then each line becomes an event as soon as it comes. In a text stream the event keeps its
line end, so that reading the stream as bytes gives back the input, byte for byte; in a JSON stream it is one value.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from streaming.client import (
    Backoff,
    ClientError,
    Listener,
    ProblemAnswer,
    Producer,
    Site,
    StreamInfo,
    StreamMissing,
    create_stream,
    describe_stream,
    is_json,
    until_answered,
)
from streaming.client.lines import LineTooLong

from .line_source import LineSource

__all__ = ["InputError", "Interrupted", "Pace", "PublishOptions", "ensure_stream", "publish"]

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain"

_GRACE_S = 0.8
"""After Ctrl-C, for what was read already; the whole exit shall take less than a second."""


class InputError(ClientError):
    """The input holds something that can't be an event; what stands before it was published."""


class Interrupted(ClientError):
    """Ctrl-C came, and not all that was read could be published in time."""


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How the input becomes events."""

    is_json: bool
    """Each line is a JSON value."""
    content_type: str | None
    """For a new stream, and required of one that exists; None chooses by `is_json`."""
    may_create: bool
    type: str
    chomp: bool
    """Leave the line end out of a text event."""
    close: bool
    """Close the stream at the end of the input."""
    rate_per_s: float | None
    producer_id: str | None
    linger_s: float
    max_batch_bytes: int
    max_batch_events: int
    timeout_s: float | None


class Pace:
    """Lets so many events through a second, evenly; None lets all through."""

    def __init__(self, rate_per_s: float | None) -> None:
        self._step_s = 1 / rate_per_s if rate_per_s else 0.0
        self._next_mono = 0.0

    async def wait(self) -> None:
        """Wait for the turn of the next event."""
        if not self._step_s:
            return
        now_mono = time.monotonic()
        self._next_mono = max(self._next_mono, now_mono)
        await asyncio.sleep(self._next_mono - now_mono)
        self._next_mono += self._step_s


async def ensure_stream(site: Site, name: str, options: PublishOptions, listener: Listener) -> StreamInfo:
    """Find the stream, or make it if that is allowed, however long the server is away.

    Raises:
        StreamMissing: there is none and none shall be made.
        InputError: it can't take this input.
    """
    content_type = options.content_type or (JSON_TYPE if options.is_json else TEXT_TYPE)

    async def find_or_make() -> StreamInfo:
        try:
            return await describe_stream(site, name)
        except StreamMissing:
            if not options.may_create:
                raise
        try:
            return (await create_stream(site, name, content_type))[0]
        except ProblemAnswer as error:
            if error.status != 409:
                raise
            return await describe_stream(site, name)  # somebody else made it in between

    info = await until_answered(find_or_make, Backoff(options.timeout_s, listener))
    if info.closed:
        raise InputError(f"{name} is closed: it takes no more events")
    if options.content_type and _essence(info.content_type) != _essence(options.content_type):
        raise InputError(f"{name} holds {info.content_type}, not {options.content_type}")
    if is_json(info.content_type) and not options.is_json:
        raise InputError(f"{name} holds {info.content_type}: publish JSON values, one a line, with --ndjson")
    if options.is_json and not is_json(info.content_type):
        raise InputError(f"{name} holds {info.content_type}: publish it without --ndjson")
    return info


async def publish(
    producer: Producer, source: LineSource, options: PublishOptions, content_type: str, listener: Listener
) -> None:
    """Publish all of a source, until its end or until SIGINT or SIGTERM.

    Args:
        content_type: the stream's own.
        listener: told what happens to lines that are not UTF-8.

    Raises:
        InputError: a line can't be an event.
        Interrupted: not all that was read could be published after a signal.
        ClientError: the server refused.
        OSError: the input can't be read.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _interrupt, interrupted)
    is_text = content_type.lower().startswith("text/")
    text = _TextEvents(chomp=options.chomp, is_text=is_text, listener=listener)
    feeding = asyncio.create_task(_feed(producer, source, options, _json_event if options.is_json else text.make))
    signalled = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait({feeding, signalled}, return_when=asyncio.FIRST_COMPLETED)
        if signalled.done():
            await source.settle()
            source.stop()
            async with asyncio.timeout(_GRACE_S):
                await feeding
                await producer.flush()
            return
        await feeding
        if options.close:
            await producer.close_stream()
    except TimeoutError:
        waiting = producer.statistics().waiting_events
        raise Interrupted(
            f"interrupted: {waiting} events are not acknowledged (they may be in the stream or not)"
        ) from None
    finally:
        feeding.cancel()
        signalled.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _interrupt(interrupted: asyncio.Event) -> None:
    if interrupted.is_set():
        raise KeyboardInterrupt  # the second time somebody means it
    interrupted.set()


async def _feed(
    producer: Producer, source: LineSource, options: PublishOptions, make_event: Callable[[bytes, int], bytes]
) -> None:
    pace = Pace(options.rate_per_s)
    number = 0

    try:
        async for line in source.lines():
            number += 1
            if data := make_event(line, number):
                await pace.wait()
                await producer.append(data, type=options.type)
    except LineTooLong as error:
        for line in error.before:
            number += 1
            if data := make_event(line, number):
                await producer.append(data, type=options.type)
        await producer.flush()
        raise InputError(f"line {number + 1}: {error}") from error
    except (InputError, OSError):
        # What stands before the trouble is in good order, and is published.
        await producer.flush()
        raise
    await producer.flush()


class _TextEvents:
    """Makes events of lines of text; says once that a byte had to be replaced.

    A text stream takes UTF-8 only, and a live source that has one stray byte should not end there.
    """

    def __init__(self, *, chomp: bool, is_text: bool, listener: Listener) -> None:
        self._chomp = chomp
        self._is_text = is_text
        self._listener = listener
        self._has_replaced = False

    def make(self, line: bytes, number: int) -> bytes:
        data = line.removesuffix(b"\n").removesuffix(b"\r") if self._chomp else line
        if not self._is_text or data.isascii():
            return data
        safe = data.decode(errors="replace").encode()
        if safe != data and not self._has_replaced:
            self._has_replaced = True
            self._listener.notice(
                f"line {number} is not UTF-8: such bytes become U+FFFD;"
                " a stream of --content-type application/octet-stream keeps them"
            )
        return safe


def _json_event(line: bytes, number: int) -> bytes:
    """The value of a line, as it was written; empty for an empty line."""
    value = line.strip(b" \t\r\n")
    if value:
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InputError(f"line {number} is not a JSON value: {error}") from error
    return value


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
