"""FT24: the worker's wall clock jumps by a day, forth and back."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.faults.clock import WallClock
from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, HEARTBEAT_S, Stream, fault_site
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.faults

_DAY_S = 86_400


def test_clock_jump_of_the_worker_changes_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """Offsets rise, deadlines and heartbeats keep their pace, nothing expires; the log tells of the jump."""
    clock = WallClock(tmp_path)
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path / "site", redis_url=redis.url, environ=clock.env, deadline_s=APPEND_DEADLINE_S) as site,
        Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        sliding = Stream(site, "faults/sliding", {"Stream-TTL": "3600"})
        sliding.create()
        load.run_for(seconds / 3)
        for shift_s in (_DAY_S, -_DAY_S, 0):
            clock.shift(shift_s)
            load.wait_for_delivery(within_s=2)
            assert sliding.append({"n": shift_s}).status_code == 204
            load.run_for(seconds / 6)
        load.finish()
        assert load.check() == []
        # Idle connections kept alive are timed by the monotonic clock too.
        assert {reader.connects for reader in load.readers} == {1}
        assert load.longest_silence_s() < HEARTBEAT_S + bound(0.2)
        assert load.slowest_append_s() < APPEND_DEADLINE_S
        assert sliding.events() == [{"n": _DAY_S}, {"n": -_DAY_S}, {"n": 0}]
        page = site.get(sliding.path, headers={"Accept": "application/x-ndjson"})
        times = [line.split('"time":"')[1][:24] for line in page.text.splitlines() if '"time"' in line]
        assert times == sorted(times)
        # An event's time is Redis', which did not jump.
        assert all(abs(datetime.fromisoformat(text).timestamp() - time.time()) < 600 for text in times)
        eventually(lambda: len(site.logged("clock.jump")) >= 2, 5, "the log tells of the jumps")
