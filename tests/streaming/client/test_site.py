"""Addresses and keys: what is taken, what is refused, and where a key never shows."""

from __future__ import annotations

import pytest

from streaming.client import NoAnswer, Site, UsageError, describe_stream
from tests.support.flaky_server import Stored, flaky_server


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1/stream", "http://h:1/v1/stream/"])
async def test_forms_of_one_address_mean_the_same(url: str) -> None:
    """With or without the path that the Durable Streams command line wants."""
    async with Site(url) as site:
        assert site.stream_url("a/b c é".replace(" ", "-")) == "http://h:1/v1/stream/a/b-c-%C3%A9"
        assert site.viewer_url("a") == "http://h:1/streams/a"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://h", "http://", "http://u:p@h", "http://h:0", "http://h:99999", "http://h?x=1"]
)
def test_address_that_cannot_be_is_refused(url: str) -> None:
    """Found before anything is sent."""
    with pytest.raises(UsageError):
        Site(url)


async def test_name_that_cannot_be_is_refused() -> None:
    """The grammar of names is checked here too, so that no path is made from `..`."""
    async with Site() as site:
        for name in ("", "a//b", "../x", "a b"):
            with pytest.raises(UsageError, match="not a stream name"):
                site.stream_url(name)


async def test_key_is_sent_and_never_shown() -> None:
    """The key is a Bearer token of each request; neither `repr` nor an error shows it."""
    async with flaky_server() as server:
        server.streams["s"] = Stored("text/plain")
        async with Site(server.url, key="s3cret", authorization="Basic x") as site:
            await describe_stream(site, "s")
            assert "s3cret" not in repr(site)
            await server.stop()
            with pytest.raises(NoAnswer) as caught:
                await describe_stream(site, "s")
            assert "s3cret" not in str(caught.value)
        assert server.requests[0].headers["authorization"] == "Bearer s3cret"


def test_key_that_no_header_can_carry_is_refused() -> None:
    """A line end in a key would be another header field."""
    with pytest.raises(UsageError) as caught:
        Site(key="s3cret\r\nX: y")
    assert "s3cret" not in str(caught.value)
