"""One real site for all tests of the interface, and streams prepared for them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from tests.streaming.api.bad_inputs import MAX_BODY_BYTES
from tests.support.site import Site

HEARTBEAT_S = 0.3
LONG_POLL_S = 1.0
CORS_ORIGINS = ("https://app.example", "http://localhost:5173")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """An open site with short heartbeats, shared: tests use streams of their own and break nothing."""
    env = {
        "STREAMSITE_HEARTBEAT_S": str(HEARTBEAT_S),
        "STREAMSITE_LONG_POLL_S": str(LONG_POLL_S),
        "STREAMSITE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "STREAMSITE_CORS_ORIGINS": ",".join(CORS_ORIGINS),
    }
    with Site(tmp_path_factory.mktemp("api"), env=env) as running:
        yield running


@pytest.fixture
def make(site: Site) -> Callable[..., str]:
    """Create a stream and give its path; further arguments are header fields, `body` the first content."""

    def create(content_type: str = "application/json", body: bytes = b"", **fields: str) -> str:
        path = f"/v1/stream/api/{secrets.token_hex(6)}"
        headers = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
        answer = site.request("PUT", path, headers=headers, content=body)
        assert answer.status_code == 201, answer.text
        return path

    return create


class Append(Protocol):
    """Append to a path; further arguments are header fields. Gives Stream-Next-Offset."""

    def __call__(self, path: str, body: bytes, content_type: str = ..., **fields: str) -> str: ...


@pytest.fixture
def append(site: Site) -> Append:
    """Append one body and see that it is taken."""

    def post(path: str, body: bytes, content_type: str = "application/json", **fields: str) -> str:
        headers = {"Content-Type": content_type, **{name.replace("_", "-"): value for name, value in fields.items()}}
        answer = site.request("POST", path, headers=headers, content=body)
        assert answer.is_success, answer.text
        return str(answer.headers["Stream-Next-Offset"])

    return post
