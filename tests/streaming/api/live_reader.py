"""A live answer read as it comes, in each of its forms."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from tests.support.site import Site
from tests.support.sse_parser import SseEvent, SseParser

__all__ = ["LiveLines", "LiveSse", "lines", "sse"]


class LiveSse:
    """An event stream: what EventSource would have dispatched so far."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.parser = SseParser()
        self.events: list[SseEvent] = []
        self.raw = b""
        self._chunks = response.iter_raw()

    def until(self, is_enough: Callable[[], object]) -> list[SseEvent]:
        """Read until it is enough, or the end; the client's timeout bounds each wait."""
        while not is_enough():
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self.raw += chunk
            self.events += self.parser.feed(chunk)
        return self.events

    def take(self, count: int) -> list[SseEvent]:
        """Read until so many events have come in all."""
        return self.until(lambda: len(self.events) >= count)

    def rest(self) -> list[SseEvent]:
        """Read to the end."""
        return self.until(lambda: False)


class LiveLines:
    """Live NDJSON: the objects so far, and how many empty lines."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.objects: list[dict[str, Any]] = []
        self.heartbeats = 0
        self._chunks = response.iter_raw()
        self._rest = b""

    def until(self, is_enough: Callable[[], object]) -> list[dict[str, Any]]:
        """Read until it is enough, or the end."""
        while not is_enough():
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            self.heartbeats += whole.count(b"")
            self.objects += [json.loads(line) for line in whole if line]
        return self.objects

    def take(self, count: int) -> list[dict[str, Any]]:
        """Read until so many objects have come in all."""
        return self.until(lambda: len(self.objects) >= count)

    def rest(self) -> list[dict[str, Any]]:
        """Read to the end."""
        return self.until(lambda: False)


@contextlib.contextmanager
def sse(site: Site, path: str, headers: Mapping[str, str] | None = None) -> Iterator[LiveSse]:
    """Open a path as EventSource does."""
    with site.stream(path, headers={"Accept": "text/event-stream", **(headers or {})}) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        yield LiveSse(response)


@contextlib.contextmanager
def lines(site: Site, path: str) -> Iterator[LiveLines]:
    """Open a path for live NDJSON."""
    with site.stream(path) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"] == "application/x-ndjson"
        yield LiveLines(response)
