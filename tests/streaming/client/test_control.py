"""Creating, describing, listing, closing and deleting streams."""

from __future__ import annotations

import pytest

from streaming.client import (
    BadAnswer,
    ProblemAnswer,
    Site,
    StreamMissing,
    close_stream,
    create_stream,
    delete_prefix,
    delete_stream,
    describe_stream,
    list_streams,
    with_counts,
)
from tests.support.flaky_server import Fault, Stored, flaky_server


async def test_life_of_a_stream() -> None:
    """Created once, found again, closed twice, deleted once."""
    async with flaky_server() as server, Site(server.url) as site:
        info, is_new = await create_stream(site, "a/b", "text/plain")
        assert (info.name, info.content_type, info.closed, is_new) == ("a/b", "text/plain", False, True)
        assert (await create_stream(site, "a/b", "text/plain"))[1] is False
        with pytest.raises(ProblemAnswer):
            await create_stream(site, "a/b", "text/html")
        assert await close_stream(site, "a/b") == await close_stream(site, "a/b") == info.tail_offset
        assert (await describe_stream(site, "a/b")).closed
        await delete_stream(site, "a/b")
        with pytest.raises(StreamMissing, match="no such stream"):
            await describe_stream(site, "a/b")


async def test_list_goes_over_all_pages() -> None:
    """All streams of a prefix are listed, in order, over more than one page; a limit ends it."""
    async with flaky_server() as server, Site(server.url) as site:
        for number in range(1203):
            server.streams[f"p/{number:04d}"] = Stored("text/plain")
        server.streams["q"] = Stored("text/plain")
        assert [info.name async for info in list_streams(site, prefix="p/")] == [f"p/{n:04d}" for n in range(1203)]
        assert [info.name async for info in list_streams(site, after="p/1201", limit=5)] == ["p/1202", "q"]
        assert [info.name async for info in list_streams(site, limit=1)] == ["p/0000"]
        assert await delete_prefix(site, "p/") == 1203


async def test_counts_come_from_the_list_where_there_is_one() -> None:
    """The description is completed by the list, and stands alone on a server without one."""
    async with flaky_server() as server, Site(server.url) as site:
        server.streams["s"] = Stored("text/plain", [("message", b"abc")])
        info = await with_counts(site, await describe_stream(site, "s"))
        assert (info.events, info.bytes) == (1, 3)
        server.faults.append(Fault("GET", status=404))
        assert (await with_counts(site, await describe_stream(site, "s"))).events is None
        server.faults.append(Fault("GET", status=200, body=b"<html>"))
        with pytest.raises(BadAnswer):
            _ = [info async for info in list_streams(site)]


async def test_web_page_is_not_taken_for_a_stream() -> None:
    """A server that answers 200 to anything is no Durable Streams server."""
    async with flaky_server() as server, Site(server.url) as site:
        server.faults.append(Fault("HEAD", status=200))
        with pytest.raises(BadAnswer, match="Durable Streams"):
            await describe_stream(site, "s")
