"""Who answers what."""

from __future__ import annotations

from typing import Any

import pytest

from streaming import runtime
from streamsite.routing import Dispatcher, lifespan, refuse_websocket
from streamsite.types import Message, Receive, Scope, Send


async def _route(path: str, raw: str | None = None, root_path: str = "") -> str:
    taken: list[str] = []

    def application(name: str) -> Any:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            taken.append(name)

        return application

    scope = {"type": "http", "path": path, "raw_path": (raw or path).encode(), "root_path": root_path}
    await Dispatcher(lean=application("lean"), full=application("full"))(scope, _nothing(), _sink([]))
    return taken[0]


def _nothing(*messages: Message) -> Receive:
    queue = list(messages)

    async def receive() -> Message:
        return queue.pop(0)

    return receive


def _sink(sent: list[Any]) -> Send:
    async def send(message: Message) -> None:
        sent.append(message)

    return send


@pytest.mark.parametrize("path", ["/v1/stream/a", "/v1/streams", "/livez", "/healthz", "/readyz", "/metrics"])
async def test_data_path_and_health_go_lean(path: str) -> None:
    """Neither needs a thread, and health must answer when there is none left."""
    assert await _route(path) == "lean"


@pytest.mark.parametrize("path", ["/", "/admin/", "/streams/a", "/v1", "/livez/x"])
async def test_the_rest_goes_through_the_full_chain(path: str) -> None:
    """Pages and the admin need sessions, templates and the database."""
    assert await _route(path) == "full"


async def test_encoded_prefix_does_not_reach_the_full_chain() -> None:
    """`/%761/…` decodes to a stream's path; served by the decoded path it would be a second URL of the same stream."""
    assert await _route("/v1/stream/a", raw="/%761/stream/a") == "lean"


async def test_root_path_is_left_out() -> None:
    """Behind a proxy that serves the site below a prefix."""
    assert await _route("/below/v1/stream/a", root_path="/below") == "lean"


async def test_websocket_is_refused_before_it_is_accepted() -> None:
    """The client sees 403, not a silent close after a while."""
    sent: list[Any] = []
    await refuse_websocket({"type": "websocket"}, _nothing({"type": "websocket.connect"}), _sink(sent))
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_lifespan_starts_and_stops_the_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a server that speaks lifespan nothing is started lazily."""
    calls: list[str] = []

    async def start() -> None:
        calls.append("start")

    async def stop() -> None:
        calls.append("stop")

    monkeypatch.setattr(runtime, "start", start)
    monkeypatch.setattr(runtime, "stop", stop)
    sent: list[Any] = []
    messages = _nothing({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    await lifespan({"type": "lifespan"}, messages, _sink(sent))
    assert calls == ["start", "stop"]
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_runtime_that_does_not_start_stops_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unsafe Redis is told to the server, which prints it and ends."""

    async def start() -> None:
        raise OSError("no Redis")

    monkeypatch.setattr(runtime, "start", start)
    sent: list[Any] = []
    await lifespan({"type": "lifespan"}, _nothing({"type": "lifespan.startup"}), _sink(sent))
    assert sent == [{"type": "lifespan.startup.failed", "message": "no Redis"}]
