"""/metrics beside everything else."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import Http404
from django.test import RequestFactory, override_settings

from observability import urls

pytestmark = pytest.mark.usefixtures("settings")


@override_settings(OBSERVABILITY={"METRICS_OPEN": True})
async def test_open_metrics_are_shown(rf: RequestFactory) -> None:
    """Ours, Django's and the process's own, in the text format."""
    response = await urls.metrics(rf.get("/metrics"))
    text = response.content.decode()
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    for name in ("stream_redis_up", "python_info", "process_resident_memory_bytes"):
        assert f"\n# TYPE {name} gauge\n" in text
    assert "\n# TYPE django_db_new_connections_total counter\n" in text


@pytest.mark.parametrize("given", [{}, {"METRICS_OPEN": False}, {"METRICS_BIND": "127.0.0.1:9090"}])
async def test_closed_metrics_are_not_there(rf: RequestFactory, given: dict[str, Any]) -> None:
    """Production shows nothing on the port that everyone reaches, its own listener or not."""
    with override_settings(OBSERVABILITY=given), pytest.raises(Http404):
        await urls.metrics(rf.get("/metrics"))


@override_settings(OBSERVABILITY={"METRICS_OPEN": True})
async def test_metrics_are_for_reading(rf: RequestFactory) -> None:
    """Other methods get 405."""
    assert (await urls.metrics(rf.post("/metrics"))).status_code == 405
