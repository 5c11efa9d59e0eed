"""FT17: a worker stands still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from streamsite.server.supervisor import STALLED_S
from tests.faults.load import Load
from tests.faults.scene import fault_site
from tests.support.deadlines import eventually
from tests.support.site import Site

pytestmark = pytest.mark.faults


def test_stopped_worker_is_killed_and_replaced(tmp_path: Path, seed: int) -> None:
    """The supervisor misses its heartbeat; whoever it served comes back to another worker and has lost nothing."""
    with fault_site(tmp_path, workers="2") as site, Load(site.address, seed) as load:
        load.wait_for_delivery(within_s=2)
        stopped, other = site.worker_pids()
        os.kill(stopped, signal.SIGSTOP)
        eventually(lambda: site.logged("worker.stalled"), STALLED_S, "the supervisor has noticed")
        eventually(lambda: stopped not in site.worker_pids(), 2, "it is killed")
        eventually(lambda: len(site.worker_pids()) == 2, 2, "another one was started")
        assert other in site.worker_pids()
        load.wait_for_delivery(within_s=3)
        load.finish()
        assert load.check() == []
        eventually(lambda: _is_counted(site), 3, "it is counted")
        assert [line["pid"] for line in site.logged("worker.stalled")] == [stopped]


def _is_counted(site: Site) -> bool:
    metrics = site.metrics()
    return metrics.total("stream_worker_stalled_total") == 1
