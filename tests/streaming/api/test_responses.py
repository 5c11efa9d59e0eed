"""What every answer carries: who may read it from a page of another origin."""

from __future__ import annotations

import httpx
import pytest

from tests.streaming.api.conftest import CORS_ORIGINS
from tests.support.site import Site

PATHS = ["/v1/streams", "/v1/stream/no/such"]
STRANGERS = [
    "https://app.example.evil",
    "https://evilapp.example",
    "http://app.example",
    "null",
    "https://app.example:444",
]


def preflight(site: Site, path: str, origin: str) -> httpx.Response:
    """What a browser asks before an append."""
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,producer-id"}
    return site.request("OPTIONS", path, headers={"Origin": origin, **asked})


@pytest.mark.parametrize("origin", CORS_ORIGINS)
@pytest.mark.parametrize("path", PATHS)
def test_allowed_origin_may_read_and_append(site: Site, path: str, origin: str) -> None:
    """Errors too, and our fields can be seen."""
    answer = site.get(path, headers={"Origin": origin})
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert "Origin" in answer.headers["Vary"]
    exposed = answer.headers["Access-Control-Expose-Headers"]
    assert {"Stream-Next-Offset", "X-Request-ID", "Retry-After"} <= set(exposed.split(", "))
    before = preflight(site, path, origin)
    assert before.status_code == 204
    assert before.headers["Access-Control-Allow-Origin"] == origin
    allowed = before.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"content-type", "producer-id", "last-event-id"} <= set(allowed)


@pytest.mark.parametrize("origin", STRANGERS)
def test_other_origin_is_not_named(site: Site, origin: str) -> None:
    """No part of a name matches, and answers vary, so that a cache mixes nobody up."""
    for answer in (site.get(PATHS[0], headers={"Origin": origin}), preflight(site, PATHS[0], origin)):
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Origin" in answer.headers["Vary"]


def test_credentials_are_never_allowed(site: Site) -> None:
    """There are no cookies here that a page of another origin could use."""
    for path in PATHS:
        answer = preflight(site, path, CORS_ORIGINS[0])
        assert "Access-Control-Allow-Credentials" not in answer.headers


def test_answers_vary_without_origin_too(site: Site) -> None:
    """A cache may have got the answer for a request without Origin first."""
    assert "Origin" in site.get(PATHS[0]).headers["Vary"]
