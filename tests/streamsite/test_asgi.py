"""The composition, asked as a server asks it."""

from __future__ import annotations

from typing import Any

import pytest

from streamsite.asgi import application
from tests.streamsite.test_handler import Exchange
from tests.support.deadlines import bound


class _Whole(Exchange):
    """An exchange with the whole application."""

    async def run(self) -> Exchange:
        import asyncio

        async with asyncio.timeout(bound(5)):
            await application(self.scope, self.receive, self.send)
        return self


async def test_health_is_answered_by_the_lean_handler() -> None:
    """With its request id, and without a body that tells anything."""
    got = await _Whole("/livez").run()
    assert (got.status, got.body) == (200, b"ok")
    assert len(got.headers["x-request-id"]) == 36


async def test_unknown_page_goes_through_the_full_chain() -> None:
    """A problem document, with the request id too, and the headers of Django's middleware."""
    got = await _Whole("/nowhere", headers=[(b"host", b"localhost")]).run()
    assert got.status == 404
    assert "x-request-id" in got.headers
    assert got.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("kind", ["http", "websocket", "lifespan"])
def test_every_kind_of_connection_has_its_part(kind: str) -> None:
    """A server may send any of the three."""
    mapping: dict[str, Any] = application.application_mapping
    assert kind in mapping
