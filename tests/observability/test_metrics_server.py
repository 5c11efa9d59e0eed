"""The listener of its own for the metrics."""

from __future__ import annotations

import socket
import threading
import time

import httpx
import pytest

from observability import metrics_server
from tests.support.deadlines import bound


def test_listener_serves_the_metrics_until_it_is_closed() -> None:
    """It answers with the text format, and is gone after close, its thread too."""
    before = threading.active_count()
    server = metrics_server.serve(metrics_server.bind("127.0.0.1:0"))
    try:
        url = f"http://127.0.0.1:{server.port}/metrics"
        response = httpx.get(url, timeout=bound(2), trust_env=False)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/plain; version=")
        assert "\nstream_redis_up " in response.text
        assert "\npython_info{" in response.text
    finally:
        server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, timeout=bound(2), trust_env=False)
    assert threading.active_count() <= before


def test_port_that_is_taken_is_refused() -> None:
    """A second listener on the same port is an error for the caller to name."""
    server = metrics_server.serve(metrics_server.bind("127.0.0.1:0"))
    try:
        with pytest.raises(OSError, match="in use"):
            metrics_server.bind(f"127.0.0.1:{server.port}")
    finally:
        server.close()


def test_address_that_is_none_is_refused() -> None:
    """What is not host:port never reaches the resolver."""
    with pytest.raises(ValueError, match="must be host:port"):
        metrics_server.bind("9090")


def test_client_that_says_nothing_does_not_keep_the_listener_from_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A balancer that only connects: others are answered after a moment, and a worker can stop."""
    monkeypatch.setattr(metrics_server._QuietHandler, "timeout", 0.2)
    server = metrics_server.serve(metrics_server.bind("127.0.0.1:0"))
    with socket.create_connection(("127.0.0.1", server.port)):
        response = httpx.get(f"http://127.0.0.1:{server.port}/metrics", timeout=bound(2), trust_env=False)
        assert response.status_code == 200
    monkeypatch.setattr(metrics_server._QuietHandler, "timeout", 60)
    with socket.create_connection(("127.0.0.1", server.port)):
        began_mono = time.monotonic()
        server.close()
        assert time.monotonic() - began_mono < bound(2 * metrics_server.CLOSE_S + 0.5)
