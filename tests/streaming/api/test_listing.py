"""/v1/streams: listing by prefix and page, deleting many."""

from __future__ import annotations

import secrets
from urllib.parse import quote

import pytest

from tests.support.site import Site


@pytest.fixture(scope="module")
def prefix(site: Site) -> str:
    """Twelve streams under one prefix, and one beside it."""
    prefix = f"list-{secrets.token_hex(4)}/"
    for name in [f"{prefix}{number:02}" for number in range(11)] + [f"{prefix}ü", prefix[:-1]]:
        headers = {"Content-Type": "application/json", "Stream-TTL": "3600"}
        answer = site.request("PUT", f"/v1/stream/{quote(name)}", headers=headers, content=b"[1,2]")
        assert answer.status_code == 201
    return prefix


def names(site: Site, **parameters: str) -> tuple[list[str], str | None]:
    """Names of one page, and where the next begins."""
    answer = site.get("/v1/streams", params=parameters)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    return [stream["name"] for stream in body["streams"]], body["next"]


def test_prefix_gives_its_streams_in_order(site: Site, prefix: str) -> None:
    """By bytes of the name; a name that is the prefix without its slash is not below it."""
    expected = [f"{prefix}{number:02}" for number in range(11)] + [f"{prefix}ü"]
    assert names(site, prefix=prefix) == (expected, None)


def test_pages_join_to_the_whole(site: Site, prefix: str) -> None:
    """Whatever their size, no stream is missing or twice."""
    whole, _ = names(site, prefix=prefix)
    for limit in (1, 5, 12, 13):
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page, after = names(site, prefix=prefix, limit=str(limit), after=after)
            assert len(page) <= limit
            found += page
        assert found == whole


def test_stream_is_described_as_head_does(site: Site, prefix: str) -> None:
    """One look at the list is enough for an overview."""
    (stream,) = site.get("/v1/streams", params={"prefix": f"{prefix}00"}).json()["streams"]
    head = site.request("HEAD", f"/v1/stream/{prefix}00").headers
    assert stream["tail_offset"] == head["Stream-Next-Offset"]
    assert stream["earliest_offset"] == head["Stream-Earliest-Offset"]
    assert (stream["content_type"], stream["closed"], stream["events"], stream["bytes"]) == (
        "application/json", False, 2, 2,
    )  # fmt: skip
    assert stream["ttl_s"] == 3600
    assert stream["created_at"] <= stream["last_append_at"] < stream["expires_at"]


def test_expired_and_deleted_streams_are_not_listed(site: Site) -> None:
    """They are gone for everybody at the same moment."""
    prefix = f"gone-{secrets.token_hex(4)}/"
    site.request("PUT", f"/v1/stream/{prefix}expired", headers={"Stream-TTL": "0"})
    site.request("PUT", f"/v1/stream/{prefix}deleted")
    site.request("DELETE", f"/v1/stream/{prefix}deleted")
    assert names(site, prefix=prefix) == ([], None)


def test_deleting_by_prefix_deletes_just_those(site: Site) -> None:
    """And says how many; a second time there is nothing left."""
    prefix = f"many-{secrets.token_hex(4)}/"
    for number in range(7):
        site.request("PUT", f"/v1/stream/{prefix}{number}")
    site.request("PUT", f"/v1/stream/{prefix[:-1]}")
    assert site.request("DELETE", "/v1/streams", params={"prefix": prefix}).json() == {"deleted": 7}
    assert site.request("DELETE", "/v1/streams", params={"prefix": prefix}).json() == {"deleted": 0}
    assert names(site, prefix=prefix[:-1])[0] == [prefix[:-1]]


def test_prefix_is_no_pattern(site: Site, prefix: str) -> None:
    """Stars, brackets and the end of the alphabet mean themselves."""
    for pattern in ("*", f"{prefix}*", "[", "+", "-", "(", "\U0010ffff", f"{prefix}\U0010ffff"):
        assert names(site, prefix=pattern) == ([], None)
