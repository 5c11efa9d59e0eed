"""Pages: their forms, bounds, and what caches and browsers are told of them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable

import pytest

from tests.streaming.api.conftest import LONG_POLL_S, Append
from tests.streaming.api.live_reader import lines, sse
from tests.support.site import Site

Make = Callable[..., str]
MIB = 1024 * 1024


def test_json_is_kept_byte_for_byte(site: Site, make: Make, append: Append) -> None:
    """Big numbers, spaces, key order, duplicate keys and escapes come back as they were sent, in every form."""
    values = [b"123456789012345678901234567890.10", b'{"b" : 1,  "a":1.0e0, "a":2}', rb'"\u00e9\/"', b"1E5"]
    path = make()
    append(path, b"[" + b" , ".join(values) + b"]", Stream_Closed="true")
    assert site.get(path).content == b"[" + b",".join(values) + b"]"
    page = site.get(path, headers={"Accept": "application/x-ndjson"}).content.splitlines()
    assert [line.partition(b'"data":')[2][:-1] for line in page] == values
    with sse(site, path) as reader:
        assert [event.data.encode() for event in reader.rest()] == values


def test_ndjson_page_carries_offset_type_time_and_data(site: Site, make: Make, append: Append) -> None:
    """A page, not a live answer: it has an end, and says where to go on."""
    path = make("text/plain")
    first = append(path, b"one\n", "text/plain")
    second = append(path, "zwei \u2028".encode(), "text/plain", Stream_Event_Type="german")
    answer = site.get(path, headers={"Accept": "application/x-ndjson"})
    found = [json.loads(line) for line in answer.content.splitlines()]
    assert [(line["offset"], line["type"], line["data"]) for line in found] == [
        (first, "message", "one\n"),
        (second, "german", "zwei \u2028"),
    ]
    assert answer.headers["Stream-Next-Offset"] == second
    assert answer.headers["Stream-Up-To-Date"] == "true"
    assert answer.headers["Vary"].startswith("Accept")


def test_large_binary_append_comes_back_in_bounded_pages(site: Site, make: Make, append: Append) -> None:
    """A body above the event limit is split, and reading never gives a page above its bound."""
    data = secrets.token_bytes(MIB + MIB // 2)
    path = make("application/octet-stream")
    tail = append(path, data, "application/octet-stream")
    got, offset, pages = b"", "-1", 0
    while True:
        answer = site.get(f"{path}?offset={offset}")
        assert len(answer.content) <= MIB
        got, offset, pages = got + answer.content, answer.headers["Stream-Next-Offset"], pages + 1
        if "Stream-Up-To-Date" in answer.headers:
            break
    assert got == data
    assert offset == tail
    assert pages == 2


FORMS = ["catch-up", "ndjson-page", "native", "live=sse", "live=ndjson", "live=long-poll"]


def last_values(site: Site, path: str, form: str, count: int) -> list[int]:
    """The first answer to `tail=count` in a form, as values."""
    query = f"{path}?tail={count}"
    if form == "native":
        with sse(site, query) as reader:
            return [json.loads(event.data) for event in reader.rest()]
    if form == "live=sse":
        with sse(site, f"{query}&live=sse") as reader:
            return [value for event in reader.rest() if event.type == "data" for value in json.loads(event.data)]
    if form == "live=ndjson":
        with lines(site, f"{query}&live=ndjson") as live:
            return [line["data"] for line in live.rest() if "data" in line]
    if form == "ndjson-page":
        page = site.get(query, headers={"Accept": "application/x-ndjson"}).content
        return [json.loads(line)["data"] for line in page.splitlines()]
    values: list[int] = site.get(query + ("&live=long-poll" if "=" in form else "")).json()
    return values


@pytest.mark.parametrize("form", FORMS)
def test_tail_gives_the_last_events_in_every_form(site: Site, make: Make, append: Append, form: str) -> None:
    """Fewer than there are, just as many, and more."""
    path = make()
    append(path, b"[1,2,3]")
    append(path, b"[4,5]", Stream_Closed="true")
    assert last_values(site, path, form, 2) == [4, 5]
    assert last_values(site, path, form, 3) == [3, 4, 5]
    assert last_values(site, path, form, 100) == [1, 2, 3, 4, 5]


def test_tail_then_live(site: Site, make: Make, append: Append) -> None:
    """What a chat needs first: some past, then the present."""
    path = make(body=b"[1,2,3]")
    with sse(site, f"{path}?tail=1") as reader:
        reader.take(1)
        append(path, b"4")
        reader.take(2)
    assert [event.data for event in reader.events] == ["3", "4"]


def test_long_poll_without_events_ends_in_time(site: Site, make: Make) -> None:
    """204 with where to go on, after as long as is set."""
    path = make()
    answer = site.get(f"{path}?offset=now&live=long-poll")
    assert answer.status_code == 204
    assert answer.headers["Stream-Up-To-Date"] == "true"
    assert answer.elapsed.total_seconds() >= LONG_POLL_S * 0.9
    assert "Stream-Cursor" in answer.headers


@pytest.mark.parametrize("type_", ["text/html", "image/svg+xml", "application/octet-stream", "application/xml"])
def test_stream_that_would_run_as_a_page_is_offered_as_a_file(site: Site, make: Make, type_: str) -> None:
    """Nothing that was appended runs in the site's origin (CWE-79)."""
    answer = site.get(make(type_, b"<script>alert(1)</script>"))
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Content-Security-Policy"] == "sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_page_that_the_address_names_may_be_cached_and_revalidated(site: Site, make: Make, append: Append) -> None:
    """By Accept too, because it decides the form; closing changes the tag."""
    path = make(body=b"[1]")
    answer = site.get(path)
    assert answer.headers["Cache-Control"].startswith("public")
    assert answer.headers["Vary"].startswith("Accept")
    tag = answer.headers["ETag"]
    again = site.get(path, headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert again.headers["Cache-Control"] == answer.headers["Cache-Control"]
    assert again.headers["Vary"].startswith("Accept")
    append(path, b"", Stream_Closed="true")
    assert site.get(path, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [("?offset=now", {}), ("?tail=1", {}), ("?offset=-1", {"Last-Event-ID": "{first}"}),
     ("?offset=-1&live=long-poll", {"Last-Event-ID": "{first}"})],
    ids=["now", "tail", "resumed", "resumed long-poll"],
)  # fmt: skip
def test_page_that_the_address_does_not_name_is_not_stored(
    site: Site, make: Make, append: Append, query: str, headers: dict[str, str]
) -> None:
    """A cache would give it to others under the same address (CWE-349)."""
    path = make()
    first = append(path, b"1")
    append(path, b"2")
    answer = site.get(path + query, headers={name: value.replace("{first}", first) for name, value in headers.items()})
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "ETag" not in answer.headers


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
@pytest.mark.parametrize("query", ["?live=sse&offset=-1", "?live=ndjson", "?live=long-poll&offset=now", ""])
def test_head_and_options_start_no_reader(site: Site, make: Make, method: str, query: str) -> None:
    """They answer at once and without a body, whatever the address would follow."""
    path = make(body=b"[1]")
    ended = site.metrics().total("stream_readers_ended_total")
    answer = site.request(method, path + query, headers={"Accept": "text/event-stream"})
    assert answer.status_code == (200 if method == "HEAD" else 204)
    assert answer.content == b""
    assert site.metrics().total("stream_readers_ended_total") == ended
