"""The page that shows a stream, in Chromium: what it shows, in which words, and what it never lets happen."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, expect

from tests.conformance.hostile import TEXTS, TYPES
from tests.conformance.streams import TestStream
from tests.support.deadlines import bound
from tests.support.site import Site
from tests.support.tcpx import Tcpx

pytestmark = [pytest.mark.browser]

UPDATE_S = 1.0
"""From an append to its row."""
RECONNECT_S = 10.0
MAX_ROWS = 2000
HOSTILE_NAME = "<img/src=x/onerror=alert(1)>'\"&{{7*7}}<script>"
WATCH = """
window.violations = []
addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective + " " + event.blockedURI))
"""

Open = Callable[..., Page]


@pytest.fixture
def opened(context: BrowserContext) -> Iterator[Open]:
    """Open the page of a stream; at the end there must have been no dialog, script error or policy violation."""
    context.add_init_script(WATCH)
    troubles: list[str] = []
    pages: list[Page] = []

    def close_dialog(dialog: Dialog) -> None:
        troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def note_line(line: ConsoleMessage) -> None:
        if line.type in ("error", "warning"):
            troubles.append(line.text)

    def open_page(site: Site, stream: str, *, port: int | None = None, network_may_fail: bool = False) -> Page:
        page = context.new_page()
        page.on("dialog", close_dialog)
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        if not network_may_fail:
            page.on("console", note_line)
        page.goto(f"http://127.0.0.1:{port or site.port}/streams/{quote(stream, safe='/')}")
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        troubles += page.evaluate("violations")
    assert troubles == []


def state_of(page: Page) -> Any:
    """The words that say how it stands."""
    return page.locator("#state")


def texts_of(page: Page) -> list[str]:
    """The data in sight, row by row, as the page shows them in short."""
    return page.locator("#rows .data").all_text_contents()


def numbered(count: int, first: int = 0) -> list[str]:
    """JSON events that count."""
    return [json.dumps({"n": number}) for number in range(first, first + count)]


def rows_within(page: Page, count: int, within_s: float = UPDATE_S) -> None:
    """Wait for a number of rows."""
    expect(page.locator("#rows > li")).to_have_count(count, timeout=bound(within_s) * 1000)


def says(page: Page, words: str, within_s: float = RECONNECT_S) -> None:
    """Wait for the words of a state."""
    expect(state_of(page)).to_have_text(words, timeout=bound(within_s) * 1000)


def test_page_shows_past_and_live_events_with_offset_time_and_type(site: Site, opened: Open) -> None:
    """What was there is there, and what comes appears at once, whatever its type."""
    stream = TestStream(site, "application/json")
    stream.append('{"a": [1, 2]}', "created")
    page = opened(site, stream.name)
    rows_within(page, 1)
    says(page, "Live")
    stream.append('{"b": 2}', "never seen before")
    rows_within(page, 2)
    rows = site.get(stream.path, headers={"Accept": "application/x-ndjson"}).text.splitlines()
    for row, event in zip(page.locator("#rows > li").all(), map(json.loads, rows), strict=True):
        assert row.locator(".offset").text_content() == event["offset"]
        assert row.locator(".type").text_content() == event["type"]
        assert row.locator("time").get_attribute("datetime") == event["time"]
    assert texts_of(page) == ['{"a":[1,2]}', '{"b":2}']


def test_pause_holds_rows_back_until_resumed(site: Site, opened: Open) -> None:
    """By button and by key; the words say that there is something new."""
    stream = TestStream(site, "text/plain")
    stream.append("first")
    page = opened(site, stream.name)
    says(page, "Live")
    page.get_by_role("button", name="Pause").click()
    says(page, "Paused")
    stream.append("second")
    says(page, "Paused, new events are waiting", UPDATE_S)
    assert texts_of(page) == ["first"]
    page.keyboard.press("p")
    rows_within(page, 2)
    says(page, "Live")
    assert texts_of(page) == ["first", "second"]


def test_hostile_name_types_and_data_are_text(site: Site, opened: Open) -> None:
    """Markup, templates and control characters are shown, and nothing of them runs."""
    stream = TestStream(site, "text/plain", quote(HOSTILE_NAME, safe="/"))
    events = [(TYPES[number % len(TYPES)], text) for number, text in enumerate(TEXTS)]
    for event_type, text in events:
        stream.append(text, event_type)
    page = opened(site, HOSTILE_NAME)
    rows_within(page, len(events))
    assert page.locator("h1").text_content() == HOSTILE_NAME
    assert page.locator("#rows .type").all_text_contents() == [event_type for event_type, _ in events]
    for row, (_, text) in zip(page.locator("#rows > li").all(), events, strict=True):
        row.locator("summary").click()
        assert row.locator("pre").text_content() == text
    assert page.locator("#rows img, #rows script, h1 img").count() == 0


def test_numbers_keep_their_digits(site: Site, opened: Open) -> None:
    """JSON is laid out as text, never parsed into what JavaScript can hold."""
    stream = TestStream(site, "application/json")
    stream.append('{"big":12345678901234567890.10,"list":[1,{"deep":[]}],"text":"a, {b}: [c] \\" d"}')
    page = opened(site, stream.name)
    rows_within(page, 1)
    assert texts_of(page) == ['{"big":12345678901234567890.10,"list":[1,{"deep":[]}],"text":"a, {b}: [c] \\" d"}']
    page.locator("summary").click()
    assert page.locator("pre").text_content() == (
        '{\n  "big": 12345678901234567890.10,\n  "list": [\n    1,\n    {\n      "deep": []\n    }\n  ],\n'
        '  "text": "a, {b}: [c] \\" d"\n}'
    )


def test_scrolling_up_reads_the_past_to_its_beginning(site: Site, opened: Open) -> None:
    """The newest are there first; older ones come when they are scrolled to, without gap and without a jump."""
    stream = TestStream(site, "application/json")
    stream.append_many(numbered(700))
    page = opened(site, stream.name)
    rows_within(page, 200)
    for count in (400, 600, 700):
        page.keyboard.press("Home")
        rows_within(page, count, RECONNECT_S)
    assert texts_of(page) == [f'{{"n":{number}}}' for number in range(700)]
    expect(page.locator("#past")).to_have_text("The beginning of the stream.")


def test_rows_are_bounded_and_stay_a_gapless_window(site: Site, opened: Open) -> None:
    """Far back the newest rows go away; scrolling down, or the End key, brings them again."""
    stream = TestStream(site, "application/json")
    stream.append_many(numbered(2600))
    page = opened(site, stream.name)
    rows_within(page, 200)
    first = page.locator("#rows > li .data").first
    for start in range(2200, -1, -200):
        page.keyboard.press("Home")
        expect(first).to_have_text(f'{{"n":{start}}}', timeout=bound(RECONNECT_S) * 1000)
    assert texts_of(page) == [f'{{"n":{number}}}' for number in range(MAX_ROWS)]
    last = page.locator("#rows > li .data").last
    page.evaluate("log.scrollTop = log.scrollHeight")
    expect(last).to_have_text(f'{{"n":{MAX_ROWS + 199}}}', timeout=bound(RECONNECT_S) * 1000)
    assert texts_of(page) == [f'{{"n":{number}}}' for number in range(200, MAX_ROWS + 200)]
    page.keyboard.press("End")
    expect(last).to_have_text('{"n":2599}', timeout=bound(RECONNECT_S) * 1000)
    stream.append('{"n":2600}')
    expect(last).to_have_text('{"n":2600}', timeout=bound(UPDATE_S) * 1000)


def test_past_that_retention_removed_is_said_to_be(site: Site, opened: Open) -> None:
    """Scrolling up ends at the earliest event that there is, in other words than at the beginning."""
    headers = {"Content-Type": "application/json", "Stream-Retention": "count=250"}
    site.request("PUT", "/v1/stream/tests/retained", headers=headers).raise_for_status()
    stream = TestStream(site, "application/json", "tests/retained", is_new=False)
    for first in range(0, 600, 100):
        stream.append_many(numbered(100, first))
    page = opened(site, stream.name, network_may_fail=True)
    rows_within(page, 200)
    page.keyboard.press("Home")
    expect(page.locator("#past")).to_have_text("Older events were removed by retention.")
    texts = texts_of(page)
    assert texts == [f'{{"n":{number}}}' for number in range(600 - len(texts), 600)]
    assert 200 <= len(texts) < 600


def test_new_events_do_not_move_who_reads_further_up(site: Site, opened: Open) -> None:
    """They come below, and a button says so and leads there."""
    stream = TestStream(site, "application/json")
    stream.append_many(numbered(150))
    page = opened(site, stream.name)
    rows_within(page, 150)
    says(page, "Live")
    page.evaluate("log.scrollTop = 300")
    stream.append_many(numbered(20, 150))
    rows_within(page, 170)
    assert page.evaluate("log.scrollTop") == 300
    page.get_by_role("button", name="New events").click()
    page.wait_for_function("log.scrollHeight - log.scrollTop - log.clientHeight < 2")
    expect(page.get_by_role("button", name="New events")).to_be_hidden()


def test_lost_connection_is_said_and_made_good(site: Site, opened: Open) -> None:
    """While the line is cut the page says so; what was missed is there once, in order."""
    stream = TestStream(site, "application/json")
    stream.append_many(numbered(3))
    with Tcpx(("127.0.0.1", site.port)) as proxy:
        page = opened(site, stream.name, port=proxy.port, network_may_fail=True)
        rows_within(page, 3)
        says(page, "Live")
        proxy.cut()
        says(page, "Connection lost, trying again…")
        stream.append_many(numbered(3, 3))
        proxy.heal()
        says(page, "Live")
        rows_within(page, 6, RECONNECT_S)
        assert texts_of(page) == [f'{{"n":{number}}}' for number in range(6)]


def test_closed_stream_is_said_to_be(site: Site, opened: Open) -> None:
    """Live readers and later ones are told; nobody waits for what can't come."""
    stream = TestStream(site, "text/plain")
    stream.append("first")
    page = opened(site, stream.name)
    says(page, "Live")
    stream.append("last")
    stream.close()
    says(page, "Closed: nothing more will come")
    later = opened(site, stream.name)
    says(later, "Closed: nothing more will come")
    assert texts_of(page) == texts_of(later) == ["first", "last"]


def test_missing_stream_is_waited_for(site: Site, opened: Open) -> None:
    """The page may be opened before the first event is published."""
    page = opened(site, "tests/not/yet", network_may_fail=True)
    says(page, "There is no stream of this name yet. Waiting for it…")
    stream = TestStream(site, "text/plain", "tests/not/yet")
    says(page, "Live")
    expect(page.locator("#past")).to_have_text("No events yet.")
    stream.append("here")
    rows_within(page, 1)


def test_deleted_stream_made_anew_shows_the_new_one_and_says_so(site: Site, opened: Open) -> None:
    """Rows of the old stream are never mixed with those of the new one."""
    stream = TestStream(site, "text/plain")
    stream.append("old")
    page = opened(site, stream.name, network_may_fail=True)
    rows_within(page, 1)
    says(page, "Live")
    stream.delete()
    says(page, "There is no stream of this name yet. Waiting for it…")
    stream.create()
    stream.append("new")
    says(page, "Live")
    rows_within(page, 1)
    assert texts_of(page) == ["new"]


def test_binary_data_are_base64_with_their_size(site: Site, opened: Open) -> None:
    """Bytes that are no text are neither guessed at nor cut off."""
    stream = TestStream(site, "application/octet-stream")
    stream.append(b"\x00\x01\xff")
    page = opened(site, stream.name)
    rows_within(page, 1)
    assert texts_of(page) == ["base64 AAH/"]
    page.locator("summary").click()
    expect(page.locator("dl")).to_contain_text("3 bytes, base64")


def test_page_is_usable_by_keyboard(site: Site, opened: Open) -> None:
    """Buttons in order, then the rows; j and k move, Enter opens and closes."""
    stream = TestStream(site, "application/json")
    stream.append_many(numbered(3))
    page = opened(site, stream.name)
    rows_within(page, 3)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pause")).to_be_focused()
    for key in ("j", "k"):
        page.keyboard.press(key)
    expect(page.locator("summary").nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("pre")).to_have_text('{\n  "n": 1\n}')
    page.keyboard.press("Enter")
    expect(page.locator("pre")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_page_fits_its_width(site: Site, opened: Open, width: int) -> None:
    """Nothing sticks out sideways, with long names, types and data."""
    stream = TestStream(site, "text/plain", f"a-very-long-name-without-a-break/{width}" + "x" * 120)
    stream.append("y" * 5000, "t" * 100)
    page = opened(site, stream.name)
    page.set_viewport_size({"width": width, "height": 640})
    rows_within(page, 1)
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("log.scrollWidth <= log.clientWidth")
    box = page.get_by_role("button", name="Pause").bounding_box()
    assert box
    assert box["x"] + box["width"] <= width


def test_colours_follow_the_system(site: Site, opened: Open) -> None:
    """Light and dark, by the browser's preference."""
    stream = TestStream(site, "text/plain")
    page = opened(site, stream.name)
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    assert (light, page.evaluate(background)) == ("rgb(247, 247, 245)", "rgb(21, 22, 23)")
