"""A browser's own EventSource loses its connection, or the site, in the middle, and ends with exactly the sent events."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page

from tests.conformance.cuts import READ, publish_through_cuts
from tests.conformance.hostile import JSON_TEXTS, JSON_VALUES, TEXTS, TYPES
from tests.conformance.streams import TestStream
from tests.support.deadlines import bound
from tests.support.site import Site
from tests.support.tcpx import Tcpx

pytestmark = [pytest.mark.browser]

END_S = 30.0
"""From the last append until EventSource has stopped, retries included."""
READER = """
({url, types}) => {
  window.received = []
  window.opened = 0
  window.source = new EventSource(url)
  source.onopen = () => opened++
  for (const type of types) {
    source.addEventListener(type, (event) => received.push([event.type, event.data, event.lastEventId]))
  }
}
"""
CLOSED = 2
"""EventSource's readyState when it will not come back."""


@pytest.fixture
def proxy(site: Site) -> Iterator[Tcpx]:
    """The line that breaks."""
    with Tcpx(("127.0.0.1", site.port), marks=[READ]) as proxy:
        yield proxy


class Received(NamedTuple):
    """An event as a listener saw it."""

    type: str
    data: str
    last_event_id: str


class Reader:
    """An EventSource in a page of the same origin."""

    def __init__(self, context: BrowserContext, url: str, types: Sequence[str] = ("message",)) -> None:
        parts = httpx.URL(url)
        blank = f"{parts.scheme}://{parts.netloc.decode()}/blank"
        self._page: Page = context.new_page()
        self._page.route(blank, lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        self._page.goto(blank)
        self._page.evaluate(READER, {"url": url, "types": list(types)})

    def wait_for(self, expression: str, within_s: float = END_S) -> None:
        """Wait until a JavaScript expression is true."""
        self._page.wait_for_function(expression, timeout=bound(within_s) * 1000)

    def wait_for_end(self) -> list[Received]:
        """Wait until EventSource has stopped for good.

        Returns: every event.
        """
        self.wait_for(f"source.readyState === {CLOSED}")
        received: Any = self._page.evaluate("received")
        return [Received(*event) for event in received]


@pytest.mark.parametrize(
    ("content_type", "texts"), [("text/plain", TEXTS * 3), ("application/json", JSON_TEXTS)], ids=["text", "json"]
)
def test_eventsource_through_cuts_gets_each_event_once(
    context: BrowserContext, site: Site, proxy: Tcpx, content_type: str, texts: Sequence[str]
) -> None:
    """Line breaks, NUL, U+2028, BOM and types arrive as sent; Last-Event-ID wins over the offset that the URL repeats."""
    stream = TestStream(site, content_type)
    events = [(TYPES[number % len(TYPES)], text) for number, text in enumerate(texts)]
    reader = Reader(context, f"http://127.0.0.1:{proxy.port}{stream.path}?offset=-1", TYPES)
    publish_through_cuts(proxy, lambda event: stream.append(event[1], event[0]), events)
    stream.close()
    received = reader.wait_for_end()
    assert [(event.type, event.data) for event in received] == events
    ids = [event.last_event_id for event in received]
    assert ids == sorted(set(ids))


def test_eventsource_on_protocol_sse_through_cuts_gets_each_event_once(
    context: BrowserContext, site: Site, proxy: Tcpx
) -> None:
    """`live=sse` has ids as well, so that a plain EventSource on it resumes, and stops at the end of the stream."""
    stream = TestStream(site, "application/json")
    reader = Reader(
        context, f"http://127.0.0.1:{proxy.port}{stream.path}?offset=-1&live=sse", ["data", "control", "message"]
    )
    publish_through_cuts(proxy, stream.append, [json.dumps(value) for value in JSON_VALUES])
    stream.close()
    received = reader.wait_for_end()
    values = [value for event in received if event.type == "data" for value in json.loads(event.data)]
    assert values == list(JSON_VALUES)
    assert {event.type for event in received} == {"data", "control"}
    assert json.loads(received[-1].data)["streamClosed"] is True


def test_eventsource_on_binary_stream_gets_base64(context: BrowserContext, site: Site) -> None:
    """What is no text is base64, whole for each event."""
    stream = TestStream(site, "application/octet-stream")
    sent = [bytes(range(256)), b"\x00", b"\xff\xfe\n\r\n"]
    for data in sent:
        stream.append(data)
    stream.close()
    received = Reader(context, f"{site.url}{stream.path}").wait_for_end()
    assert [base64.b64decode(event.data) for event in received] == sent


@pytest.mark.parametrize("form", ["", "&live=sse"], ids=["native", "protocol"])
def test_eventsource_that_is_cut_before_its_first_event_misses_none(
    context: BrowserContext, site: Site, proxy: Tcpx, form: str
) -> None:
    """The address repeats `now`, which by then is somewhere else."""
    stream = TestStream(site, "application/json")
    stream.append("0")
    url = f"http://127.0.0.1:{proxy.port}{stream.path}?offset=now{form}"
    reader = Reader(context, url, ["message", "data", "control"])
    reader.wait_for("received.length === 1" if form else "opened === 1")
    proxy.stall("up")  # whoever comes back waits there, until there is something that it could miss
    proxy.reset()
    stream.append("1")
    stream.append("2")
    proxy.heal()
    reader.wait_for("opened === 2")
    stream.close()
    values = [json.loads(event.data) for event in reader.wait_for_end() if event.type != "control"]
    assert values == ([[1, 2]] if form else [1, 2])


def test_eventsource_on_protocol_sse_of_closed_empty_stream_stops(context: BrowserContext, site: Site) -> None:
    """There is no event whose id it could bring, and yet it is told not to come again."""
    stream = TestStream(site, "text/plain")
    stream.close()
    reader = Reader(context, f"{site.url}{stream.path}?offset=-1&live=sse", ["control"])
    assert len(reader.wait_for_end()) == 1


def test_killed_site_costs_eventsource_nothing(context: BrowserContext, site: Site) -> None:
    """The site is killed and started again between events; nobody in the browser has to do anything."""
    stream = TestStream(site, "text/plain")
    texts = [f"event {number}" for number in range(30)]
    reader = Reader(context, f"{site.url}{stream.path}?offset=-1")
    for text in texts[:10]:
        stream.append(text)
    reader.wait_for("received.length === 10")
    site.restart()
    for text in texts[10:20]:
        stream.append(text)
    reader.wait_for("received.length === 20")
    site.restart()
    for text in texts[20:]:
        stream.append(text)
    stream.close()
    assert [event.data for event in reader.wait_for_end()] == texts


def test_eventsource_on_closed_stream_gets_all_and_stops(context: BrowserContext, site: Site) -> None:
    """The first connection delivers what there is and ends; the next is answered 204, after which there is none."""
    stream = TestStream(site, "text/plain")
    for text in TEXTS:
        stream.append(text)
    stream.close()
    reader = Reader(context, f"{site.url}{stream.path}?offset=-1")
    assert [event.data for event in reader.wait_for_end()] == list(TEXTS)
    reader.wait_for("opened === 1", within_s=1)


def test_eventsource_with_offset_begins_behind_it(context: BrowserContext, site: Site) -> None:
    """An event's id is an offset: a new EventSource may begin at one that another has seen."""
    stream = TestStream(site, "text/plain")
    for number in range(6):
        stream.append(str(number))
    stream.close()
    earlier = Reader(context, f"{site.url}{stream.path}").wait_for_end()
    later = Reader(context, f"{site.url}{stream.path}?offset={earlier[3].last_event_id}").wait_for_end()
    assert [event.data for event in earlier] == list("012345")
    assert later == earlier[4:]
