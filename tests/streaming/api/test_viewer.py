"""The page's answers themselves; what the page then does in a browser is in tests/browser/."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.http import HttpResponse
from django.test import AsyncRequestFactory

from streaming.api.viewer import viewer, viewer_file
from tests.support.site import Site

HOSTILE = "<img/src=x/onerror=alert(1)>'\"&{{7*7}}"
HOSTILE_PATH = "%3Cimg/src=x/onerror=alert(1)%3E'%22&%7B%7B7*7%7D%7D"


async def page(path: str, name: str, method: str = "GET") -> HttpResponse:
    """Ask for the page of a stream, with the scope that a server makes."""
    request = AsyncRequestFactory().generic(method, path)
    request.scope = {**request.scope, "raw_path": path.encode()}
    answer = await viewer(request, name)
    assert isinstance(answer, HttpResponse)
    return answer


async def file(name: str, method: str = "GET", **headers: str) -> HttpResponse:
    """Ask for one of the page's files."""
    answer = await viewer_file(AsyncRequestFactory().generic(method, f"/v1/viewer/{name}", headers=headers), name)
    assert isinstance(answer, HttpResponse)
    return answer


async def test_page_names_the_stream_its_address_and_its_files() -> None:
    """Everything the script needs is in the markup."""
    html = (await page("/streams/orders/eu", "orders/eu")).content.decode()
    assert '<h1 title="orders/eu">orders/eu</h1>' in html
    assert 'data-stream-url="/v1/stream/orders/eu"' in html
    assert 'src="/v1/viewer/viewer.js"' in html
    assert 'href="/v1/viewer/viewer.css"' in html


async def test_hostile_name_is_escaped_in_markup_and_address() -> None:
    """A name is anybody's: it is neither markup nor a template."""
    html = (await page(f"/streams/{HOSTILE_PATH}", HOSTILE)).content.decode()
    assert "<img" not in html
    assert "&lt;img/src=x/onerror=alert(1)&gt;&#x27;&quot;&amp;{{7*7}}" in html
    assert 'data-stream-url="/v1/stream/%3Cimg/src=x/onerror=alert(1)%3E' in html


@pytest.mark.parametrize("name", ["../admin", "a%2Fb", "__ds/x"])
async def test_name_that_no_stream_can_have_is_refused(name: str) -> None:
    """The page obeys the same grammar as the data path."""
    answer = await page(f"/streams/{name}", name.replace("%2F", "/"))
    assert (answer.status_code, json.loads(answer.content)["type"]) == (400, "/problems/bad-name")


async def test_policy_lets_nothing_run_but_the_page_s_own_files() -> None:
    """No inline script or style, no other host, no frame, no form, no base."""
    answers = [await page("/streams/a", "a"), await file("viewer.js"), await file("viewer.css")]
    for answer in answers:
        policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "connect-src": "'self'",
            "img-src": "'self' data:",
            "base-uri": "'none'",
            "form-action": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answer["X-Content-Type-Options"] == "nosniff"
    html = answers[0].content.decode()
    assert "<style" not in html
    assert " style=" not in html
    assert " on" not in html.replace(" once", "")
    assert html.count("<script") == 1


def test_index_lists_streams_by_prefix_and_may_send_its_form(site: Site, make: Callable[..., str]) -> None:
    """Names are links to their pages; the form that asks for a prefix may go to the site itself, and nowhere else."""
    name = make().removeprefix("/v1/stream/")
    answer = site.get("/streams/", params={"prefix": name})
    assert answer.status_code == 200
    assert f'<a href="{name}">{name}</a>' in answer.text
    assert "<form" in answer.text
    assert "form-action 'self'" in answer.headers["Content-Security-Policy"]
    assert "There is no stream" in site.get("/streams/", params={"prefix": f"{name}x"}).text


@pytest.mark.parametrize(("name", "type"), [("viewer.js", "text/javascript"), ("viewer.css", "text/css")])
async def test_files_have_their_type_and_are_revalidated(name: str, type: str) -> None:
    """A browser asks each time and gets 304 until the package changes."""
    answer = await file(name)
    assert answer.status_code == 200
    assert answer["Content-Type"] == f"{type}; charset=utf-8"
    assert answer["Cache-Control"] == "no-cache"
    again = await file(name, **{"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("name", ["", "viewer.html", "..", "../viewer.js", "viewer.js/"])
async def test_other_files_are_not_given_out(name: str) -> None:
    """The path is a key of a table, never a path of the file system."""
    assert (await file(name)).status_code == 404


async def test_script_takes_data_in_as_text_only() -> None:
    """No way from data to markup or code is even named in the script."""
    script = (await file("viewer.js")).content.decode()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", "DOMParser"):
        assert way not in script


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_refused(method: str) -> None:
    """405 says what is allowed."""
    for answer in (await page("/streams/a", "a", method), await file("viewer.js", method)):
        assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


async def test_page_below_a_prefix_finds_its_stream_and_files() -> None:
    """A host project may include the addresses anywhere."""
    html = (await page("/live/streams/a", "a")).content.decode()
    assert 'data-stream-url="/live/v1/stream/a"' in html
    assert 'src="/live/v1/viewer/viewer.js"' in html
