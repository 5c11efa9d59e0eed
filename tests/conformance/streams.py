"""A stream to publish to, past the proxy through which it is read."""

from __future__ import annotations

import itertools
from typing import Any

from tests.support.site import Site

__all__ = ["TestStream"]

_numbers = itertools.count()


class TestStream:
    """A stream on a site.

    Args:
        site: where it is made.
        content_type: of the stream.
        name: chosen, if the name matters; in the form of a URL path.
        is_new: make it now.
    """

    __test__ = False

    def __init__(self, site: Site, content_type: str, name: str | None = None, *, is_new: bool = True) -> None:
        self.name = name or f"tests/{next(_numbers)}"
        self.path = f"/v1/stream/{self.name}"
        self._content_type = content_type
        self._site = site
        if is_new:
            self.create()

    def create(self) -> None:
        """Make it, again if it was deleted."""
        self._site.request("PUT", self.path, headers={"Content-Type": self._content_type}).raise_for_status()

    def append(self, data: str | bytes, type: str = "message") -> None:
        """Add one event; a JSON array is one event, too."""
        headers = {b"Content-Type": self._content_type.encode(), b"Stream-Event-Type": type.encode()}
        if self._content_type == "application/json":
            data = f"[{data!s}]"
        self._site.request("POST", self.path, headers=headers, content=data).raise_for_status()

    def append_many(self, json_texts: list[str]) -> None:
        """Add an event for each, in one request; for JSON streams."""
        self.append(",".join(json_texts))

    def close(self) -> None:
        """Let nothing follow."""
        self._site.request("POST", self.path, headers={"Stream-Closed": "true"}).raise_for_status()

    def delete(self) -> None:
        """Take it away."""
        self._site.request("DELETE", self.path).raise_for_status()

    def read_json(self) -> Any:
        """All its values."""
        return self._site.get(self.path).raise_for_status().json()
