"""What the supervisor knows of the workers, as metrics: it takes no traffic, so one of them shows it."""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

from observability.metrics import Description, add_description

__all__ = ["merge_ended", "registry", "watch_state"]

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


def watch_state(path: Path | None) -> None:
    """Show what this file of the supervisor says; None: show nothing."""
    _state.path = path


def merge_ended(directory: Path) -> None:
    """Add the counters and histograms of processes that have ended up in one file each.

    prometheus_client keeps a file for each process for ever, and reads all of them at each scrape.

    Args:
        directory: PROMETHEUS_MULTIPROC_DIR.
    """
    with (directory / "merging").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers start side by side
        for kind in ("counter", "histogram"):
            ended = [path for path in directory.glob(f"{kind}_[1-9]*.db") if not _is_running(path)]
            if not ended:
                continue
            total = MmapedDict(str(directory / f"{kind}_0.db"))  # type: ignore[no-untyped-call]
            for path in ended:
                for key, value, timestamp, _ in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                    known, _ = total.read_value(key)  # type: ignore[no-untyped-call]
                    total.write_value(key, known + value, timestamp)  # type: ignore[no-untyped-call]
                path.unlink()
            total.close()  # type: ignore[no-untyped-call]


def _is_running(path: Path) -> bool:
    pid = path.stem.rpartition("_")[2]
    return Path(f"/proc/{pid}").exists() if sys.platform == "linux" else True


def registry() -> CollectorRegistry:
    """Everything there is to show: of all workers together where there are several."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    from prometheus_client import multiprocess

    together = CollectorRegistry()
    multiprocess.MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    together.register(_state)
    return together
