"""The resuming reader: every event of a stream once, in order, however often the connection breaks.

The reader's `position` is the offset of the last event that it handed out; each new connection begins there. Two
dialects are spoken. Our own server says each event's offset, type and time on a line of NDJSON (live with
`live=ndjson`); any other Durable Streams server is read by catch-up pages and long-poll (5.6, 5.7), where only a page
has an offset: such a page is read whole before anything of it is handed out, so that nothing can come twice.
Which one it is shows in the Content-Type of the first answer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec

from .errors import BadAnswer, ClientError, NoAnswer, ProblemAnswer, StreamGone, UsageError, answer_error
from .lines import LineSplitter, LineTooLong
from .producer import DEFAULT_TYPE, is_json
from .retry import Backoff, Listener, Quiet
from .site import Site

__all__ = ["NOW", "START", "ReadEvent", "Reader"]

START = "-1"
NOW = "now"

_NDJSON = "application/x-ndjson"
_SILENCE_S = 65.0
"""Four heartbeats of 15 s, and more than twice the usual long-poll of 30 s: a connection that is silent for longer is dead."""
_LINE_BYTES = 64 * 1024 * 1024
"""An event of 8 MiB whose every byte is escaped as \\u00XX still fits."""
_REWOUND = frozenset({"stream-rewound", "offset-gone", "stream-deleted"})


class _Line(msgspec.Struct, frozen=True):
    """One line of our NDJSON; which fields are set says what it is."""

    offset: str = ""
    type: str = DEFAULT_TYPE
    time: str = ""
    data: msgspec.Raw = msgspec.Raw()
    encoding: str = ""
    closed: bool = False
    error: msgspec.Raw = msgspec.Raw()


_decode_line = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class ReadEvent:
    """One event as it was appended; from a foreign server without message boundaries, a piece of the stream."""

    data: bytes
    """For a JSON stream the text of the value, every digit kept."""
    offset: str = ""
    """Empty inside a page of a server that does not say it."""
    type: str = DEFAULT_TYPE
    time: str = ""
    """When the server took it, ISO 8601; empty when the server does not say."""
    is_piece: bool = False
    """There is no boundary between this and its neighbours."""


class Reader:
    """Reads one stream from a position on.

    Args:
        site: not closed by the reader.
        start: an offset, `START` or `NOW`.
        last: begin with the last so many events instead; only our own server can.
        follow: go on waiting at the end; False ends there.
        timeout_s: how long to try again after a failure; None means for ever.
        listener: told about retries and damaged events.
    """

    def __init__(
        self,
        site: Site,
        stream: str,
        *,
        start: str = START,
        last: int | None = None,
        follow: bool = True,
        timeout_s: float | None = None,
        listener: Listener | None = None,
    ) -> None:
        if not start or not start.isascii() or not start.isprintable():
            raise UsageError(f"not an offset: {start!r}")
        self._site = site
        self._stream = stream
        self._url = site.stream_url(stream)
        self._last = last
        self._follow = follow
        self._listener = listener or Quiet()
        self._backoff = Backoff(timeout_s, self._listener)
        self._is_foreign = False
        self._is_ours = False
        self._cursor = ""
        self._is_done = False
        self.position = start
        """Where the next connection begins; an offset once anything was read."""
        self.content_type = ""
        """The stream's own, once the server was asked; empty before."""
        self.is_closed = False
        """The end of a closed stream was reached."""
        self.damaged = 0
        """Events that the server reported as damaged instead of delivering them."""

    async def events(self) -> AsyncGenerator[ReadEvent | None, None]:
        """Yield each event, and None for a heartbeat; end at the end of a closed stream, or of any when not following.

        Raises:
            StreamGone: what comes next in the log is lost or the stream deleted; the problem says what is left.
            ClientError: the server refused, or the time for retries is over.
        """
        while not self._is_done:
            try:
                await self._resolve()
                pages = self._foreign_page if self._is_foreign else self._ndjson_page
                async for event in pages():
                    self._backoff.reset()
                    yield event
                self._backoff.reset()
            except ClientError as error:
                if self._may_be_foreign(error):
                    self._is_foreign = True
                else:
                    await self._backoff.wait(error)

    async def _resolve(self) -> None:
        """Ask once where the stream stands.

        `now` must become an offset before anything can break: asking for `now` again would skip what came in between.
        """
        if self.content_type:
            return
        answer = await self._site.request("HEAD", self._url)
        offset = answer.headers.get("stream-next-offset")
        if offset is None:
            raise BadAnswer(f"{self._url} has no Stream-Next-Offset; is this a Durable Streams server?")
        if self.position == NOW:
            self.position = offset
        self.content_type = answer.headers.get("content-type", "application/octet-stream")

    # Our own server.

    async def _ndjson_page(self) -> AsyncIterator[ReadEvent | None]:
        params = {"offset": self.position} if self._last is None else {"tail": str(self._last)}
        if self._follow:
            params["live"] = "ndjson"
        async with self._site.stream(
            self._url, headers={"Accept": _NDJSON}, params=params, silence_s=_SILENCE_S
        ) as answer:
            if not _is_ndjson(answer):
                self._turn_foreign()
                return
            self._is_ours = True
            splitter = LineSplitter(_LINE_BYTES)
            is_empty = True
            async for chunk in answer.aiter_raw():
                try:
                    lines = splitter.feed(chunk)
                except LineTooLong as error:
                    raise BadAnswer(str(error)) from error
                is_empty = is_empty and not lines
                for line in lines:
                    if line == b"\n":
                        self._settle_last()
                        yield None
                    elif (event := self._take_line(line)) is not None:
                        yield event
            self._end_page(answer)
        if is_empty and not self._is_done:
            # Asked again at once, a server that ends every answer so would be asked in a tight loop.
            raise NoAnswer("the server ended the answer without a word")

    def _take_line(self, text: bytes) -> ReadEvent | None:
        try:
            line = _decode_line(text)
            if bytes(line.error):
                self._take_trouble(msgspec.json.decode(line.error), line.offset)
                return None
            data = b"" if line.closed else self._read_data(line)
        except (msgspec.MsgspecError, binascii.Error, UnicodeError) as error:
            raise BadAnswer(f"a line of the answer can't be read: {error}") from error
        if line.offset:
            self.position = line.offset
            self._last = None
        if line.closed:
            self.is_closed = self._is_done = True
            return None
        return ReadEvent(data, line.offset, line.type, line.time)

    def _read_data(self, line: _Line) -> bytes:
        if line.encoding == "base64":
            return base64.b64decode(_decode_text(line.data), validate=True)
        if is_json(self.content_type):
            return bytes(line.data)
        return _decode_text(line.data).encode()

    def _take_trouble(self, problem: dict[str, Any], offset: str) -> None:
        """A problem inside the stream: a damaged event is passed over, everything else ends the reading."""
        error = answer_error(int(problem.get("status", 500)), {}, msgspec.json.encode(problem))
        if error.slug != "event-corrupt":
            raise (
                StreamGone(error.status, error.slug, error.detail, members=problem) if error.slug in _REWOUND else error
            )
        self.damaged += 1
        self._listener.notice(f"the server reports a damaged event: {error.detail}")
        if offset:
            self.position = offset
            self._last = None

    def _settle_last(self) -> None:
        """A heartbeat before any event of `last`: the stream was empty, so what comes now is what it begins with."""
        if self._last is not None:
            self.position = START
            self._last = None

    def _end_page(self, answer: httpx.Response) -> None:
        """The answer is over, and whole: decide whether that was all."""
        is_whole = not self._follow or answer.status_code == httpx.codes.NO_CONTENT
        if is_whole and answer.headers.get("stream-closed", "").lower() == "true":
            self.is_closed = self._is_done = True
        if not is_whole or self._is_done:
            return
        if answer.headers.get("stream-up-to-date", "").lower() == "true":
            self._is_done = True
        self._advance(answer)

    # Any other server.

    def _may_be_foreign(self, error: ClientError) -> bool:
        """Whether a refusal may only mean that the server doesn't know our dialect."""
        is_refusal = isinstance(error, ProblemAnswer) and error.status in {400, 406}
        return is_refusal and self._last is None and not (self._is_foreign or self._is_ours)

    def _turn_foreign(self) -> None:
        if self._last is not None:
            raise BadAnswer("this server can't begin with the last events; that is an extension of streamsite")
        self._is_foreign = True

    async def _foreign_page(self) -> AsyncIterator[ReadEvent | None]:
        params = {"offset": self.position}
        if self._follow and self._cursor:
            # Only once caught up: until then the answer comes at once anyway, and can be cached.
            params |= {"live": "long-poll", "cursor": self._cursor}
        answer = await self._site.request("GET", self._url, params=params, timeout_s=_SILENCE_S)
        events = self._split_page(answer)
        before = self.position
        self._advance(answer)
        for event in events:
            yield event
        is_up_to_date = answer.headers.get("stream-up-to-date", "").lower() == "true"
        if answer.headers.get("stream-closed", "").lower() == "true":
            self.is_closed = self._is_done = True
        elif is_up_to_date and not self._follow:
            self._is_done = True
        elif is_up_to_date:
            self._cursor = answer.headers.get("stream-cursor", self._cursor) or "0"
            if not events:
                yield None
        elif self.position == before:
            raise BadAnswer("the server sent neither data nor the end of the stream")

    def _split_page(self, answer: httpx.Response) -> list[ReadEvent]:
        body = answer.content
        offset = answer.headers.get("stream-next-offset", "")
        if not body:
            return []
        if not is_json(self.content_type):
            return [ReadEvent(body, offset, is_piece=True)]
        try:
            values = [bytes(value).strip() for value in _decode_array(body)]
        except msgspec.MsgspecError as error:
            raise BadAnswer(f"a page of a JSON stream is no JSON array: {error}") from error
        return [ReadEvent(value, offset if index == len(values) else "") for index, value in enumerate(values, 1)]

    def _advance(self, answer: httpx.Response) -> None:
        offset = answer.headers.get("stream-next-offset")
        if offset is None:
            raise BadAnswer("a page has no Stream-Next-Offset; is this a Durable Streams server?")
        self.position = offset
        self._last = None


def _is_ndjson(answer: httpx.Response) -> bool:
    content_type: str = answer.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower() == _NDJSON
