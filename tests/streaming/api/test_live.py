"""Live answers beyond the conformance suite: what EventSource and readers of NDJSON get."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable

import pytest

from tests.streaming.api.conftest import HEARTBEAT_S, Append
from tests.streaming.api.live_reader import lines, sse
from tests.support.deadlines import bound
from tests.support.site import Site

Make = Callable[..., str]


def test_native_sse_begins_with_retry_and_gives_each_event_its_offset_and_type(
    site: Site, make: Make, append: Append
) -> None:
    """The ids are the offsets that appends answered; `message` needs no event line; more comes live."""
    path = make()
    first = append(path, b'{"a": 1}')
    second = append(path, b'{"a": 2}', Stream_Event_Type="created")
    with sse(site, path) as reader:
        reader.take(2)
        third = append(path, b"[3]")
        reader.take(3)
    assert [(event.last_event_id, event.type, event.data) for event in reader.events] == [
        (first, "message", '{"a": 1}'),
        (second, "created", '{"a": 2}'),
        (third, "message", "3"),
    ]
    assert b"event: message" not in reader.raw
    assert reader.raw.startswith(b"retry: ")
    assert 2000 <= (reader.parser.retry_ms or 0) <= 3000
    assert reader.response.headers["X-Accel-Buffering"] == "no"
    assert "no-cache" in reader.response.headers["Cache-Control"]


def test_idle_native_reader_hears_comments(site: Site, make: Make) -> None:
    """Nobody is left in silence for much longer than a heartbeat."""
    with sse(site, make()) as reader:
        began = time.monotonic()
        reader.until(lambda: len(reader.parser.comments) >= 3)
    assert set(reader.parser.comments) == {"heartbeat"}
    assert time.monotonic() - began < bound(4 * HEARTBEAT_S)
    assert reader.events == []


def test_last_event_id_goes_over_the_offset_of_the_address(site: Site, make: Make, append: Append) -> None:
    """A browser repeats its URL for ever; only the header knows how far it came."""
    path = make()
    first = append(path, b"1")
    append(path, b"2")
    with sse(site, f"{path}?offset=-1", {"Last-Event-ID": first}) as reader:
        reader.take(1)
    assert [event.data for event in reader.events] == ["2"]


@pytest.mark.parametrize("form", ["", "&live=sse"], ids=["native", "protocol"])
@pytest.mark.parametrize("place", ["offset=now", "tail=1"])
def test_quiet_reader_whose_address_moves_on_resumes_where_it_was(
    site: Site, make: Make, append: Append, form: str, place: str
) -> None:
    """The place is an id before any event is: what is appended between two connections is not skipped."""
    path = f"{(stream := make())}?{place}{form}"
    with sse(site, path) as reader:
        reader.until(lambda: reader.raw.count(b"\n\n") >= (2 if form else 1))
    assert [event.type for event in reader.events] == (["control"] if form else [])
    append(stream, b"1")
    append(stream, b"2", Stream_Closed="true")
    with sse(site, path, {"Last-Event-ID": reader.parser.last_event_id}) as again:
        again.rest()
    data = [json.loads(event.data) for event in again.events if event.type != "control"]
    assert data == ([[1, 2]] if form else [1, 2])


def test_reader_from_the_start_is_given_no_id_before_its_first_event(site: Site, make: Make) -> None:
    """Its address goes on naming the start, also of what is created anew under this name or trimmed meanwhile."""
    with sse(site, make()) as reader:
        reader.until(lambda: reader.raw)
    assert reader.parser.last_event_id == ""


def test_eventsource_on_protocol_sse_of_a_closed_empty_stream_is_told_to_stop(site: Site, make: Make) -> None:
    """It gets an id though there is no event, and by it 204."""
    path = f"{make(Stream_Closed='true')}?live=sse&offset=-1"
    with sse(site, path) as reader:
        (event,) = reader.rest()
    assert json.loads(event.data)["streamClosed"] is True
    again = site.get(path, headers={"Accept": "text/event-stream", "Last-Event-ID": reader.parser.last_event_id})
    assert reader.parser.last_event_id
    assert again.status_code == 204


@pytest.mark.parametrize("query", ["", "?live=sse&offset=-1"], ids=["native", "protocol"])
def test_closed_stream_is_delivered_then_tells_eventsource_to_stop(
    site: Site, make: Make, append: Append, query: str
) -> None:
    """200 with all events and an end; then 204, which EventSource never follows with another attempt."""
    path = make()
    last = append(path, b"1", Stream_Closed="true")
    with sse(site, path + query) as reader:
        reader.rest()
    assert last in [event.last_event_id for event in reader.events]
    again = site.get(path + query, headers={"Accept": "text/event-stream", "Last-Event-ID": last})
    assert (again.status_code, again.content) == (204, b"")
    assert again.headers["Stream-Closed"] == "true"
    assert again.headers["Stream-Next-Offset"] == last
    assert "Content-Type" not in again.headers


def test_closing_ends_live_readers(site: Site, make: Make, append: Append) -> None:
    """The last event comes, then the end of the answer."""
    path = make()
    with sse(site, path) as native, lines(site, f"{path}?live=ndjson") as ndjson:
        native.until(lambda: native.raw)
        last = append(path, b"1", Stream_Closed="true")
        assert [event.data for event in native.rest()] == ["1"]
        assert [item.get("data", item.get("closed")) for item in ndjson.rest()] == [1, True]
        assert ndjson.objects[-1] == {"closed": True, "offset": last}


def test_protocol_sse_has_ids_by_which_a_native_eventsource_resumes(site: Site, make: Make, append: Append) -> None:
    """`live=sse` read by EventSource: Last-Event-ID goes on behind the last data event."""
    path = make()
    first = append(path, b"1")
    with sse(site, f"{path}?live=sse&offset=-1") as reader:
        reader.take(2)
    assert [(event.type, event.last_event_id) for event in reader.events] == [("data", first), ("control", first)]
    append(path, b"2")
    with sse(site, f"{path}?live=sse&offset=-1", {"Last-Event-ID": first}) as reader:
        assert json.loads(reader.take(1)[0].data) == [2]


def test_live_ndjson_gives_events_and_empty_lines(site: Site, make: Make, append: Append) -> None:
    """An empty line at once, so that the header is out; then objects, and more empty lines while nothing comes."""
    path = make()
    with lines(site, f"{path}?live=ndjson") as reader:
        reader.until(lambda: reader.heartbeats >= 3)
        offset = append(path, b'{"n": 10000000000000000000001}', Stream_Event_Type="big")
        (found,) = reader.take(1)
    assert (found["offset"], found["type"], found["data"]) == (offset, "big", {"n": 10000000000000000000001})
    assert found["time"].endswith("Z")


def test_deleted_stream_is_reported_in_band(site: Site, make: Make) -> None:
    """A reader is told why it ends."""
    path = make()
    with sse(site, path) as native, lines(site, f"{path}?live=ndjson") as ndjson:
        native.until(lambda: native.raw)
        ndjson.until(lambda: ndjson.heartbeats)
        assert site.request("DELETE", path).status_code == 204
        (event,) = native.rest()
        (report,) = ndjson.rest()
    assert event.type == "stream-gone"
    for problem in (json.loads(event.data), report["error"]):
        assert (problem["type"], problem["status"]) == ("/problems/stream-gone", 410)
        assert problem["request_id"]


def test_bytes_come_as_base64_in_text_forms(site: Site, make: Make) -> None:
    """Whatever the bytes are, they come back."""
    data = bytes(range(256))
    path = make("application/octet-stream", data, Stream_Closed="true")
    with sse(site, path) as native, lines(site, f"{path}?live=ndjson") as ndjson:
        assert b64decode(native.rest()[0].data) == data
        line = ndjson.rest()[0]
    assert line["encoding"] == "base64"
    assert b64decode(line["data"]) == data
    with sse(site, f"{path}?live=sse&offset=-1") as protocol:
        assert b64decode(protocol.rest()[0].data) == data
    assert protocol.response.headers["Stream-SSE-Data-Encoding"] == "base64"


def test_text_can_not_forge_frames(site: Site, make: Make) -> None:
    """Line ends of every kind, and what looks like fields, arrive as data of one event."""
    hostile = "a\r\nid: 1\n\nevent: error\rdata: x\u2028y\u0085z\n: c\n\n"
    path = make("text/plain", hostile.encode(), Stream_Closed="true")
    with sse(site, path) as reader:
        (event,) = reader.rest()
    assert (event.type, event.data) == ("message", hostile.replace("\r\n", "\n").replace("\r", "\n"))
