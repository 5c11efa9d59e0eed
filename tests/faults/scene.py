"""What a fault test sets up: a site whose clocks are short, and the words that are asked of it again and again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.support.deadlines import bound
from tests.support.site import Site

__all__ = ["APPEND_DEADLINE_S", "HEARTBEAT_S", "JSON", "Stream", "fault_site", "slug"]

HEARTBEAT_S = 1.0
APPEND_DEADLINE_S = 2.0
"""Where a test waits for deadlines to run out."""
JSON = {"Content-Type": "application/json"}


def fault_site(
    directory: Path,
    *,
    redis_url: str | None = None,
    environ: Mapping[str, str] | None = None,
    is_started: bool = True,
    deadline_s: float | None = None,
    **settings: str,
) -> Site:
    """A site with short heartbeats, and deadlines that a slow disk keeps.

    Args:
        environ: further environment, as it is.
        deadline_s: of appends and reads.
        settings: further ones without their prefix, in small letters; there are two workers unless one says otherwise.
    """
    deadline = str(deadline_s or bound(2))
    given = {
        "workers": "2",
        "heartbeat_s": str(HEARTBEAT_S),
        "append_deadline_s": deadline,
        "read_deadline_s": deadline,
        **settings,
    }
    variables = {f"STREAMSITE_{name.upper()}": value for name, value in given.items()} | dict(environ or {})
    directory.mkdir(parents=True, exist_ok=True)
    return Site(directory, redis_url=redis_url, env=variables, is_started=is_started)


def slug(response: httpx.Response) -> str:
    """The last part of a problem document's type; empty for any other body."""
    if not response.headers.get("Content-Type", "").startswith("application/problem+json"):
        return ""
    return str(response.json()["type"]).rpartition("/")[2]


class Stream:
    """One JSON stream of a site, asked by hand."""

    def __init__(self, site: Site, name: str, headers: dict[str, str] | None = None) -> None:
        self._site = site
        self.path = f"/v1/stream/{name}"
        self._headers = headers or {}

    def create(self) -> httpx.Response:
        """PUT, which must succeed."""
        response = self._site.request("PUT", self.path, headers=JSON | self._headers)
        assert response.status_code in (200, 201), response.text
        return response

    def append(self, event: Any, **headers: str) -> httpx.Response:
        """POST one event; headers with _ for -."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._site.request("POST", self.path, json=event, headers=named)

    def produce(self, event: Any, producer: str, seq: int, epoch: int = 0, **headers: str) -> httpx.Response:
        """POST one event as an idempotent producer."""
        numbers = {"Producer_Epoch": str(epoch), "Producer_Seq": str(seq)}
        return self.append(event, Producer_Id=producer, **numbers, **headers)

    def read(self, offset: str = "-1") -> httpx.Response:
        """One page of catch-up."""
        return self._site.get(self.path, params={"offset": offset})

    def events(self, offset: str = "-1") -> list[Any]:
        """All events of a short stream."""
        response = self.read(offset)
        assert response.status_code == 200, response.text
        found: list[Any] = response.json() if response.content else []
        return found

    def events_with_offsets(self) -> dict[str, Any]:
        """All events by their offset, however many pages they are."""
        found: dict[str, Any] = {}
        offset = "-1"
        while True:
            page = self._site.get(self.path, params={"offset": offset}, headers={"Accept": "application/x-ndjson"})
            assert page.status_code == 200, page.text
            lines = [json.loads(line) for line in page.text.split("\n") if line]
            found |= {line["offset"]: line["data"] for line in lines if "data" in line}
            offset = page.headers["Stream-Next-Offset"]
            if page.headers.get("Stream-Up-To-Date") == "true":
                return found

    def tail(self) -> str:
        """The tail offset."""
        response = self._site.request("HEAD", self.path)
        assert response.status_code == 200, response.status_code
        return str(response.headers["Stream-Next-Offset"])

    def delete(self) -> httpx.Response:
        """DELETE."""
        return self._site.request("DELETE", self.path)
