"""The door: production is closed to everything until something is opened."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import Site

HOST = "site.example"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site as it starts when nothing is said but its name."""
    env = {"STREAMSITE_ENV": "production", "STREAMSITE_ALLOWED_HOSTS": HOST}
    with Site(tmp_path_factory.mktemp("closed"), env=env) as running:
        yield running


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/v1/stream/a", "/v1/stream/a?live=sse&offset=-1", "/v1/streams?prefix=a"])
def test_closed_site_refuses_every_request_to_the_data(closed: Site, method: str, path: str) -> None:
    """403, whatever is asked and however; nothing tells whether a stream is there."""
    answer = closed.request(method, path, headers={"Host": HOST, "Origin": "https://app.example"})
    assert answer.status_code == 403
    if method != "HEAD":
        problem = answer.json()
        assert (problem["type"], problem["request_id"]) == ("/problems/closed", answer.headers["X-Request-ID"])
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("path", ["/streams/a", "/v1/viewer/viewer.js"])
def test_closed_site_shows_no_viewer(closed: Site, path: str) -> None:
    """There is nothing that it could show."""
    answer = closed.get(path, headers={"Host": HOST})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/closed")


@pytest.mark.parametrize("path", ["/livez", "/healthz", "/readyz"])
def test_health_is_open(closed: Site, path: str) -> None:
    """A balancer has no key, and asks by address."""
    assert closed.get(path).text == "ok"


def test_metrics_are_not_shown(closed: Site) -> None:
    """They have a listener of their own in production."""
    assert closed.get("/metrics", headers={"Host": HOST}).status_code == 404


@pytest.mark.parametrize("path", ["/v1/stream/a", "/v1/streams", "/streams/a"])
def test_open_site_answers_to_no_foreign_name(tmp_path: Path, path: str) -> None:
    """A page of another site that leads its own name to our address (DNS rebinding) reads and writes nothing."""
    with Site(tmp_path) as site:
        answer = site.get(path, headers={"Host": "evil.example:8000"})
        assert (answer.status_code, answer.json()["type"]) == (400, "/problems/bad-host")
        for host in ("localhost", f"127.0.0.1:{site.port}", "[::1]:1"):
            assert site.get(path, headers={"Host": host}).status_code in (200, 404)
