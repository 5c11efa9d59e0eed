"""What the supervisor knows of the workers, as metrics: it takes no traffic, so one of them shows it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from observability.metrics import Description, add_description

__all__ = ["registry", "watch_state"]

_WORKERS = add_description(Description("stream_workers", "gauge", (), "Worker processes that accept requests."))
_RESTARTS = add_description(
    Description(
        "stream_worker_restarts_total",
        "counter",
        ("signal",),
        "Workers that ended unasked and were started again, by the signal that ended them, or exit.",
    )
)
_STALLED = add_description(
    Description(
        "stream_worker_stalled_total",
        "counter",
        (),
        "Workers that were killed because their event loop gave no sign of life for ten seconds.",
    )
)


class _StateCollector(Collector):
    """Reads the supervisor's file at each scrape."""

    def __init__(self) -> None:
        self.path: Path | None = None

    def collect(self) -> Iterator[Metric]:
        """The metrics; none where no supervisor runs."""
        if self.path is None:
            return
        try:
            state = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return
        yield GaugeMetricFamily(_WORKERS.name, _WORKERS.help, value=state["workers"])
        restarts = CounterMetricFamily(_RESTARTS.name.removesuffix("_total"), _RESTARTS.help, labels=_RESTARTS.labels)
        for name, count in state["restarts"].items():
            restarts.add_metric([name], count)
        yield restarts
        yield CounterMetricFamily(_STALLED.name.removesuffix("_total"), _STALLED.help, value=state["stalled"])


_state = _StateCollector()
REGISTRY.register(_state)


def watch_state(path: Path) -> None:
    """Show what this file of the supervisor says."""
    _state.path = path


def registry() -> CollectorRegistry:
    """Everything there is to show: of all workers together where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    from prometheus_client import multiprocess

    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    together.register(_state)
    return together
