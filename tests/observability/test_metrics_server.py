"""The listener of its own for the metrics."""

from __future__ import annotations

import threading

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
