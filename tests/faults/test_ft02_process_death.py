"""FT2: process death never loses what was written, whatever the fsync mode: the page cache outlives the process."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, Stream, fault_site, slug
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(("appendfsync", "durability"), [("always", "fsynced"), ("no", "written")])
def test_redis_killed_in_any_fsync_mode_loses_nothing(
    tmp_path: Path, seed: int, seconds: float, appendfsync: str, durability: str
) -> None:
    """While Redis is away, appends are refused at once with a time to come back; then everything is there once."""
    with (
        RedisServer(args=("--appendfsync", appendfsync), port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url, durability=durability, deadline_s=APPEND_DEADLINE_S) as site,
        Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        redis.kill()
        eventually(lambda: site.metrics().total("stream_redis_up") == 0, 2, "stream_redis_up is 0")
        refused = _append_while_away(Stream(site, "faults/load"))
        assert (refused.status_code, slug(refused)) == (503, "store-unavailable")
        assert int(refused.headers["Retry-After"]) >= 1
        redis.start()
        load.wait_for_delivery(within_s=2)
        load.run_for(seconds / 3)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert load.slowest_append_s() < APPEND_DEADLINE_S + bound(0.5)
        assert metrics.total("stream_redis_up") == 1
        assert metrics.total("stream_redis_reconnects_total") >= 1
        assert metrics.total("stream_log_durability_info", mode=durability) == 1
        assert {append.durability for append in load.history.appends if append.durability} == {durability}


def _append_while_away(stream: Stream) -> httpx.Response:
    """An append that is certainly not carried by a connection from before."""
    stream.append({"v": "none"})
    return stream.append({"v": "none"})
