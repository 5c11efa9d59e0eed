"""A parser of event streams, written from WHATWG HTML 9.2.5 and 9.2.6 alone, sentence by sentence.

It shares no code with the encoder and does what EventSource does, also where that surprises: an event without `data` is not
dispatched, an id with NUL is ignored, a byte order mark is eaten at the start of the stream and nowhere else.

    parser = SseParser()
    for chunk in response.iter_bytes():
        for event in parser.feed(chunk):
            print(event.last_event_id, event.type, event.data)
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

__all__ = ["SseEvent", "SseParser", "parse_sse"]


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One dispatched event, as a listener of EventSource sees it."""

    type: str
    data: str
    last_event_id: str


class SseParser:
    """Bytes in, in any pieces; dispatched events out."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.comments: list[str] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._is_at_start = True
        self._after_cr = False
        self._line = ""
        self._type = ""
        self._data: list[str] = []
        self._id_buffer = ""
        self._last_event_id = ""

    @property
    def last_event_id(self) -> str:
        """What EventSource would send as Last-Event-ID when it connects again."""
        return self._last_event_id

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next piece; give the events that it completes."""
        text = self._decoder.decode(chunk)
        if self._is_at_start and text:
            self._is_at_start = False
            text = text.removeprefix("\ufeff")
        events: list[SseEvent] = []
        for character in text:
            was_cr, self._after_cr = self._after_cr, character == "\r"
            if character == "\n" and was_cr:
                continue
            if character not in "\r\n":
                self._line += character
                continue
            line, self._line = self._line, ""
            event = self._take_line(line)
            if event is not None:
                events.append(event)
        return events

    def _take_line(self, line: str) -> SseEvent | None:
        if not line:
            return self._dispatch()
        if line.startswith(":"):
            self.comments.append(line[1:].removeprefix(" "))
            return None
        field, _, value = line.partition(":")
        self._take_field(field, value.removeprefix(" "))
        return None

    def _take_field(self, field: str, value: str) -> None:
        if field == "event":
            self._type = value
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            if "\0" not in value:
                self._id_buffer = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value)

    def _dispatch(self) -> SseEvent | None:
        self._last_event_id = self._id_buffer
        data, self._data = self._data, []
        type_, self._type = self._type, ""
        if not data:
            return None
        return SseEvent(type_ or "message", "\n".join(data), self._last_event_id)


def parse_sse(stream: bytes) -> list[SseEvent]:
    """Give all events of a whole stream; a frame that its end cuts off is dropped, as EventSource does."""
    return SseParser().feed(stream)
