"""Data into the events of one append: by the stream's kind, within the limits, all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from observability import request_id
from streaming.conf import StreamingSettings
from streaming.errors import RequestError
from streaming.events import DEFAULT_TYPE, NewEvent
from streaming.log.log import Log
from streaming.log.outcome import Appended, AppendRequest
from streaming.log.pages import media_of
from streaming.wire.content import ContentKind
from streaming.wire.event_type import check_event_type
from streaming.wire.json_mode import JsonRefused, TooManyEvents, check_json, split_json, split_ndjson

__all__ = ["BINARY_SPLIT_BYTES", "Appender"]

BINARY_SPLIT_BYTES = 256 * 1024
"""A larger binary append becomes several entries: nobody counts its events, and every page stays bounded."""
MAX_MEDIA = 10_000


class Appender:
    """What the views and `streaming.append` share."""

    def __init__(self, log: Log, settings: StreamingSettings) -> None:
        self._log = log
        self._settings = settings
        self._media: dict[str, str] = {}

    async def append(
        self, name: str, data: bytes | str, type: str = DEFAULT_TYPE, durability: str = "", traceparent: str = ""
    ) -> Appended:
        """Append one event of the stream's own content type.

        Raises: RequestError, StoreError.
        """
        body = data.encode() if isinstance(data, str) else data
        if not body:
            raise RequestError(400, "empty-body", "an append needs data, at least one byte")
        while True:
            is_remembered = name in self._media
            media = await self._media_of(name)
            try:
                events = self.one_event(body, media, type, traceparent)
                return await self._log.append(name, AppendRequest(events, media), durability=durability)
            except RequestError:
                # The stream may have been made anew with another type: what was remembered is looked up once more.
                if self._media.pop(name, None) is None or not is_remembered:
                    raise

    def events(
        self, body: bytes, content_type: str, type: str, traceparent: str, *, is_create: bool = False
    ) -> list[NewEvent]:
        """Events of a request body.

        Args:
            content_type: normalised.
            is_create: an empty JSON array makes an empty stream.

        Raises: RequestError.
        """
        media = media_of(content_type)
        kind = ContentKind.of(media)
        if kind is ContentKind.JSON:
            try:
                values = split_json(body, self._settings.max_append_events)
            except JsonRefused as error:
                raise _json_refused(error) from error
            if not values and not is_create:
                raise RequestError(400, "empty-array", "an empty JSON array appends nothing; send at least one value")
            return self._make(values, type, traceparent)
        if kind is ContentKind.BINARY:
            parts = [body[at : at + BINARY_SPLIT_BYTES] for at in range(0, len(body), BINARY_SPLIT_BYTES)]
            return self._make(parts, type, traceparent)
        return self._make([self._checked_text(body)], type, traceparent)

    def ndjson_events(self, body: bytes, type: str, traceparent: str) -> list[NewEvent]:
        """Events of an NDJSON body for a JSON stream, one a line.

        Raises: RequestError: names the line.
        """
        try:
            values = split_ndjson(body, self._settings.max_append_events)
        except JsonRefused as error:
            raise _json_refused(error) from error
        if not values:
            raise RequestError(400, "empty-body", "the body has no line that holds a JSON value")
        if max(map(len, values)) > self._settings.max_event_bytes:
            for number, line in enumerate(body.split(b"\n"), 1):
                if (size := len(line.strip())) > self._settings.max_event_bytes:
                    raise self._too_large(size, f"line {number}", {"line": number})
        return self._make(values, type, traceparent)

    def one_event(self, body: bytes, media: str, type: str, traceparent: str) -> list[NewEvent]:
        """One event, whatever the body holds.

        Raises: RequestError.
        """
        kind = ContentKind.of(media)
        if kind is ContentKind.JSON:
            try:
                return self._make([check_json(body)], type, traceparent)
            except JsonRefused as error:
                raise _json_refused(error) from error
        return self._make([self._checked_text(body) if kind is ContentKind.TEXT else body], type, traceparent)

    def _make(self, values: Sequence[bytes], type: str, traceparent: str) -> list[NewEvent]:
        try:
            checked = check_event_type(type) if type != DEFAULT_TYPE else type
        except ValueError as error:
            raise RequestError(400, "bad-event-type", str(error)) from error
        for value in values:
            if len(value) > self._settings.max_event_bytes:
                raise self._too_large(len(value), "the event")
        current = request_id.current()
        return [NewEvent(value, checked, current, traceparent) for value in values]

    def _too_large(self, size: int, what: str, members: Mapping[str, int] | None = None) -> RequestError:
        detail = f"{what} has {size} bytes, at most {self._settings.max_event_bytes} are allowed in one event"
        return RequestError(413, "too-large", detail, members=members)

    @staticmethod
    def _checked_text(body: bytes) -> bytes:
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise RequestError(
                400, "bad-text", f"the body of a text stream must be UTF-8: {error.reason} at byte {error.start}"
            ) from error
        return body

    async def _media_of(self, name: str) -> str:
        media = self._media.get(name)
        if media is None:
            media = (await self._log.state(name)).media
            if len(self._media) >= MAX_MEDIA:
                self._media.clear()
            self._media[name] = media
        return media


def _json_refused(error: JsonRefused) -> RequestError:
    """Too many values are well formed: sent in parts they would be taken, so the caller is told another thing."""
    members = {"line": error.line} if error.line else None
    if isinstance(error, TooManyEvents):
        return RequestError(413, "too-large", error.detail, members=members)
    return RequestError(400, "bad-json", error.detail, members=members)
