"""FT14: one of several workers is killed under load."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import fault_site
from tests.support.deadlines import eventually
from tests.support.site import Site

pytestmark = pytest.mark.faults


def test_killed_worker_is_replaced_and_its_readers_lose_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """Its readers come back by their offsets, nothing is lost or doubled, another worker takes its place within a second."""
    with fault_site(tmp_path, workers="2") as site, Load(site.address, seed) as load:
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        first, second = eventually(lambda: _both(site.worker_pids()), 2, "two workers run") or (0, 0)
        os.kill(first, signal.SIGKILL)
        eventually(
            lambda: second in site.worker_pids() and len(site.worker_pids()) == 2 and first not in site.worker_pids(),
            1,
            "another worker was started",
        )
        load.wait_for_delivery(within_s=3)
        load.run_for(seconds / 2)
        load.finish()
        assert load.check() == []
        eventually(lambda: _is_counted(site), 3, "the restart is counted")
        died = site.logged("worker.died")
        assert [(line["pid"], line["status"]) for line in died] == [(first, -signal.SIGKILL)]


def _both(pids: list[int]) -> tuple[int, int] | None:
    return (pids[0], pids[1]) if len(pids) == 2 else None


def _is_counted(site: Site) -> bool:
    metrics = site.metrics()
    return metrics.total("stream_worker_restarts_total", signal="SIGKILL") == 1 and metrics.total("stream_workers") == 2
