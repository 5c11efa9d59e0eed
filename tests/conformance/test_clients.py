"""Clients that others wrote publish or read, lose the connection in the middle, and end with exactly the sent events.

What a client leaves to its application (where to go on, when to repeat an append) is done here as its documentation says.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Literal

import httpx
import pytest
from durable_streams import DurableStream, SeqConflictError, stream
from httpx_sse import connect_sse

from tests.support.deadlines import bound, eventually
from tests.support.site import Site
from tests.support.tcpx import Tcpx

from . import node
from .cuts import APPEND, READ, publish_through_cuts
from .hostile import JSON_TEXTS, JSON_VALUES, TEXTS, TYPES
from .node import NodeClient
from .record import Record
from .streams import TestStream

pytestmark = [pytest.mark.conformance]

END_S = 30.0
"""From the last append to the end of a reader, retries included."""
LOST_ANSWERS_BYTES = (0, 1, 100, 0)
"""So much of an append's answer arrives before the connection breaks."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One real server for all clients, which asks readers to come back soon."""
    node.install()
    env = {"STREAMSITE_SSE_RETRY_MS": "50", "STREAMSITE_LONG_POLL_S": "2"}
    with Site(tmp_path_factory.mktemp("site"), env=env) as site:
        yield site


@pytest.fixture
def proxy(site: Site) -> Iterator[Tcpx]:
    """The line that breaks."""
    url = httpx.URL(site.url)
    assert url.port
    with Tcpx((url.host, url.port), marks=[READ, APPEND]) as proxy:
        yield proxy


class _Line:
    """A new stream, and its address through the proxy."""

    def __init__(self, site: Site, proxy: Tcpx, content_type: str) -> None:
        self.stream = TestStream(site, content_type)
        self.url = f"http://127.0.0.1:{proxy.port}{self.stream.path}"


@pytest.fixture
def new_line(site: Site, proxy: Tcpx) -> Callable[[str], _Line]:
    """Make a stream of a content type."""
    return lambda content_type: _Line(site, proxy, content_type)


# npm: @durable-streams/client


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_typescript_client_through_cuts_reads_each_json_event_once(
    new_line: Callable[[str], _Line], proxy: Tcpx, live: str
) -> None:
    """An application that goes on from the last batch's offset has every value once, in order."""
    line = new_line("application/json")
    with NodeClient("durable_streams_read", line.url, live, "json") as client:
        publish_through_cuts(proxy, line.stream.append, [json.dumps(value) for value in JSON_VALUES])
        line.stream.close()
        reports = client.wait_for_end(END_S)
    assert [report["item"] for report in reports if "item" in report] == list(JSON_VALUES)


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_typescript_client_through_cuts_reads_each_byte_once(
    new_line: Callable[[str], _Line], proxy: Tcpx, live: str
) -> None:
    """The same for a binary stream, which is base64 in SSE: bytes that are no text arrive as they were sent."""
    line = new_line("application/octet-stream")
    sent = [bytes([number]) * number + bytes(range(256)) for number in range(1, 60)]
    with NodeClient("durable_streams_read", line.url, live, "bytes") as client:
        publish_through_cuts(proxy, line.stream.append, sent)
        line.stream.close()
        reports = client.wait_for_end(END_S)
    assert b"".join(base64.b64decode(report["bytes"]) for report in reports if "bytes" in report) == b"".join(sent)


def test_typescript_producer_with_lost_answers_writes_each_event_once(
    new_line: Callable[[str], _Line], proxy: Tcpx
) -> None:
    """What its idempotent producer repeats, because the answer was lost, is not written again, nor out of order."""
    line = new_line("application/json")
    proxy.drop_reply(APPEND)
    with NodeClient("durable_streams_publish", line.url, json.dumps(JSON_VALUES)) as client:
        for number, after_bytes in enumerate(LOST_ANSWERS_BYTES, start=1):
            eventually(lambda: proxy.dropped_replies() >= number, 10, f"answer {number} was lost")  # noqa: B023
            proxy.drop_reply(APPEND, after_bytes=after_bytes)
        reports = client.wait_for_end(END_S)
    assert [report for report in reports if "failed" in report] == []
    assert sum("lost" in report for report in reports) >= len(LOST_ANSWERS_BYTES)
    assert line.stream.read_json() == list(JSON_VALUES)


# npm: eventsource


def test_eventsource_package_through_cuts_reads_each_event_once(new_line: Callable[[str], _Line], proxy: Tcpx) -> None:
    """It resumes by Last-Event-ID alone, gets types and data as sent, and stops when the stream is closed."""
    line = new_line("application/json")
    events = [(TYPES[number % len(TYPES)], text) for number, text in enumerate(JSON_TEXTS)]
    with NodeClient("eventsource_read", f"{line.url}?offset=-1", *TYPES) as client:
        publish_through_cuts(proxy, lambda event: line.stream.append(event[1], event[0]), events)
        line.stream.close()
        reports = client.wait_for_end(END_S)
    received = [report for report in reports if "data" in report]
    assert [(report["type"], report["data"]) for report in received] == events
    ids = [report["id"] for report in received]
    assert ids == sorted(set(ids))
    assert (reports[-1]["code"], reports[-1]["state"]) == (204, 2)


def test_eventsource_package_on_text_stream_gets_text_as_sent(new_line: Callable[[str], _Line], proxy: Tcpx) -> None:
    """Line breaks, look-alikes of line breaks, NUL and what looks like SSE itself are data and nothing else."""
    line = new_line("text/plain")
    with NodeClient("eventsource_read", line.url) as client:
        publish_through_cuts(proxy, line.stream.append, TEXTS)
        line.stream.close()
        reports = client.wait_for_end(END_S)
    assert [report["data"] for report in reports if "data" in report] == list(TEXTS)


# PyPI: durable-streams


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_python_client_through_cuts_reads_each_event_once(
    new_line: Callable[[str], _Line], proxy: Tcpx, live: Literal["sse", "long-poll"]
) -> None:
    """An application that goes on from the last `next_offset` has every value once, in order."""
    line = new_line("application/json")
    received: Record[Any] = Record()

    def read() -> None:
        offset = "-1"
        while len(received.items()) < len(JSON_VALUES):
            try:
                with stream(line.url, offset=offset, live=live, timeout=bound(10)) as response:
                    for batch in response.iter_events(mode="json"):
                        for value in batch.data:
                            received.add(value)
                        offset = batch.next_offset
                        if len(received.items()) >= len(JSON_VALUES):
                            break
            except httpx.TransportError:
                pass
        with stream(line.url, offset=offset, live=False) as response:
            for value in response.read_json():
                received.add(value)

    with _running(read):
        publish_through_cuts(proxy, line.stream.append, [json.dumps(value) for value in JSON_VALUES])
        line.stream.close()
    assert received.items() == list(JSON_VALUES)


def test_python_client_with_lost_answers_writes_each_event_once(new_line: Callable[[str], _Line], proxy: Tcpx) -> None:
    """It has no producer, but `seq`: an append repeated because its answer was lost is refused as known."""
    line = new_line("application/json")
    losses = dict(zip(range(5, 70, 15), LOST_ANSWERS_BYTES, strict=False))
    known = 0
    with DurableStream(line.url, content_type="application/json", timeout=bound(10)) as handle:
        for number, value in enumerate(JSON_VALUES):
            if number in losses:
                proxy.drop_reply(APPEND, after_bytes=losses[number])
            known += _append_until_taken(handle, value, f"{number:08d}")
    assert known == len(losses)
    assert line.stream.read_json() == list(JSON_VALUES)


def _append_until_taken(handle: DurableStream, value: object, seq: str) -> bool:
    """Append, again if the connection broke; say whether an append without answer turned out to be there."""
    while True:
        try:
            handle.append(value, seq=seq)
        except SeqConflictError:
            return True
        except httpx.TransportError:
            continue
        return False


# PyPI: httpx-sse


def test_httpx_sse_through_cuts_reads_each_event_once(new_line: Callable[[str], _Line], proxy: Tcpx) -> None:
    """An application that sends the last id as Last-Event-ID has every event once, until the answer is 204."""
    line = new_line("application/json")
    events = [(TYPES[number % len(TYPES)], text) for number, text in enumerate(JSON_TEXTS)]
    received: Record[tuple[str, str]] = Record()

    def read() -> None:
        last_event_id = ""
        with httpx.Client(timeout=bound(10)) as client:
            while True:
                headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
                try:
                    with connect_sse(client, "GET", line.url, headers=headers) as source:
                        if source.response.status_code == httpx.codes.NO_CONTENT:
                            return
                        for event in source.iter_sse():
                            # The package makes events of bare `retry:` fields and comments, too.
                            if event.id and event.id != last_event_id:
                                received.add((event.event, event.data))
                                last_event_id = event.id
                except httpx.TransportError:
                    pass

    with _running(read):
        publish_through_cuts(proxy, lambda event: line.stream.append(event[1], event[0]), events)
        line.stream.close()
    assert received.items() == events


@contextmanager
def _running(read: Callable[[], None]) -> Iterator[None]:
    """Run a reader beside the block, and wait behind it for the reader's end; its exception is the test's."""
    end: Future[None] = Future()

    def run() -> None:
        try:
            read()
        except BaseException as error:  # noqa: BLE001 - raised in the test's thread
            end.set_exception(error)
        else:
            end.set_result(None)

    threading.Thread(target=run, name="reader", daemon=True).start()
    yield
    end.result(bound(END_S))
