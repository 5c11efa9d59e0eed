"""FT12: the way between the site and Redis is cut without a word: no RST, no FIN, nothing arrives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, HEARTBEAT_S, fault_site
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("workers", ["1", "2"])
def test_partition_keeps_readers_and_fills_the_gap_once(
    tmp_path: Path, seed: int, seconds: float, workers: str
) -> None:
    """Found by deadline and not by TCP; live readers hear heartbeats; what came meanwhile arrives in order, once.

    The producers write through a second site, so that there is a gap to fill.
    """
    with (
        RedisServer(port=0) as redis,
        Tcpx(("127.0.0.1", redis.port or 0)) as proxy,
        fault_site(tmp_path / "cut", redis_url=proxy.redis_url, deadline_s=APPEND_DEADLINE_S, workers=workers) as site,
        fault_site(tmp_path / "whole", redis_url=redis.url) as other,
        Load(site.address, seed, produce_at=other.address, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        proxy.stall("both")
        eventually(lambda: site.metrics().total("stream_redis_up") == 0, 3, "the partition is noticed")
        eventually(lambda: site.metrics().total("stream_readers_degraded") > 0, 1, "its readers are marked")
        eventually(lambda: site.logged("follower.lost"), 4, "the subscription is given up")
        proxy.heal()
        load.wait_for_delivery(within_s=2)
        load.run_for(seconds / 3)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert load.longest_silence_s() < HEARTBEAT_S + bound(0.2)
        assert metrics.total("stream_follower_gaps_total") >= 1
        assert metrics.total("stream_follower_gap_events_total") >= 1
        assert metrics.total("stream_redis_up") == 1
        assert metrics.total("stream_readers_degraded") == 0
