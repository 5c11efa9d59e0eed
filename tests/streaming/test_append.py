"""`await streaming.append(…)`: what any Django code may call."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

import streaming
from streaming import runtime
from streaming.errors import RequestError
from streaming.log.outcome import CreateRequest


@pytest.fixture
async def site() -> AsyncIterator[runtime.Runtime]:
    """The runtime of the test's loop, as the first view would start it."""
    yield await runtime.get()
    await runtime.stop()


async def created(site: runtime.Runtime, content_type: str) -> str:
    """A stream of a content type."""
    name = f"django/{secrets.token_hex(4)}"
    await site.log.create(name, CreateRequest(content_type=content_type))
    return name


async def test_append_from_django_code_is_read_back(site: runtime.Runtime) -> None:
    """One call is one event, an array too; text may be a string; the offset is where it is."""
    name = await created(site, "application/json")
    first = await streaming.append(name, b'[1,  {"n":10000000000000000000000.0}]')
    second = await streaming.append(name, '"é"', type="named")
    page = await site.log.read(name, "-1", 1000)
    assert [(event.offset, event.type, event.data) for event in page.events] == [
        (first.offset, "message", b'[1,  {"n":10000000000000000000000.0}]'),
        (second.offset, "named", '"é"'.encode()),
    ]
    assert str(second.durability) == "written"


@pytest.mark.parametrize(
    ("content_type", "data", "type_", "slug"),
    [
        ("application/json", b"{", "message", "bad-json"),
        ("application/json", b"1 2", "message", "bad-json"),
        ("text/plain", b"\xff", "message", "bad-text"),
        ("text/plain", b"", "message", "empty-body"),
        ("application/octet-stream", b"", "message", "empty-body"),
        ("application/json", b"", "message", "empty-body"),
        ("text/plain", b"a", "error", "bad-event-type"),
        ("text/plain", b"a" * (1024 * 1024 + 1), "message", "too-large"),
    ],
)
async def test_data_that_do_not_fit_are_refused_and_not_stored(
    site: runtime.Runtime, content_type: str, data: bytes, type_: str, slug: str
) -> None:
    """By the same rules as over HTTP."""
    name = await created(site, content_type)
    with pytest.raises(RequestError) as caught:
        await streaming.append(name, data, type=type_)
    assert caught.value.slug == slug
    assert (await site.log.read(name, "-1", 1000)).events == []


async def test_stream_that_there_is_not_is_an_error(site: runtime.Runtime) -> None:
    """It is not made by the way."""
    with pytest.raises(RequestError, match="create it with PUT") as caught:
        await streaming.append("django/none", b"1")
    assert caught.value.status == 404


async def test_stream_made_anew_with_another_type_is_found_out(site: runtime.Runtime) -> None:
    """What was remembered of the old one does not stand in the way."""
    name = await created(site, "application/json")
    await streaming.append(name, b"1")
    await site.log.delete(name)
    await site.log.create(name, CreateRequest(content_type="text/plain"))
    await streaming.append(name, b"no json")
    assert [event.data for event in (await site.log.read(name, "-1", 1000)).events] == [b"no json"]
