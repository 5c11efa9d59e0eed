"""FT1: the private Redis is killed under load; its supervisor restarts it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import redis

from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, fault_site
from tests.support.deadlines import bound, eventually
from tests.support.site import Site

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("workers", ["1", "2"])
def test_private_redis_killed_loses_nothing_and_readers_stay(
    tmp_path: Path, seed: int, seconds: float, workers: str
) -> None:
    """Nothing acknowledged is lost or doubled, live readers keep their connection, delivery goes on within two seconds."""
    with (
        fault_site(tmp_path, deadline_s=APPEND_DEADLINE_S, workers=workers) as site,
        Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        killed = site.redis_pid()
        _wait_for_calm(site)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: site.find_redis_pid() not in (None, killed), 2, "the supervisor has restarted Redis")
        load.wait_for_delivery(within_s=2)
        load.run_for(seconds / 2)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert load.slowest_append_s() < APPEND_DEADLINE_S + bound(0.5)
        assert metrics.total("stream_redis_up") == 1
        assert metrics.total("stream_redis_reconnects_total") >= 1
        assert site.logged("redis.lost")
        assert site.logged("redis.back")[-1]["gap_ms"] >= 0
        assert site.logged("redis.exited")[-1]["pid"] == killed


def _wait_for_calm(site: Site) -> None:
    """Wait until no fsync is under way.

    Under everysec Redis puts its writes off while one is (for two seconds at most), so that a crash in that moment does lose
    what was acknowledged: 4,196 events of a burst, where an fsync takes 400 ms. FT3 is about such losses, this test is not.
    """
    with redis.Redis(unix_socket_path=str(site.data_dir / "redis" / "redis.sock")) as client:
        eventually(lambda: client.info("persistence")["aof_pending_bio_fsync"] == 0, 2, "no fsync is under way")
