"""FT5: Redis is stopped (SIGSTOP): connects still succeed, nothing is answered."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Self

import pytest

from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, HEARTBEAT_S, Stream, fault_site, slug
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site

pytestmark = pytest.mark.faults

_LAG_MAX_S = 0.05


class _Pulse:
    """Asks /livez again and again: how long the event loop makes others wait."""

    def __init__(self, site: Site) -> None:
        self.slowest_s = 0.0
        self._site = site
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._is_over.wait(0.05):
            began_mono = time.monotonic()
            assert self._site.get("/livez").status_code == 200
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_mono)


def test_stopped_redis_holds_nobody_longer_than_the_deadline(tmp_path: Path, seed: int, seconds: float) -> None:
    """Appends are answered outcome-unknown in time, readers get heartbeats, the loop lives, and retries double nothing."""
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url, deadline_s=APPEND_DEADLINE_S) as site,
        Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        redis.stop()
        with _Pulse(site) as pulse:
            eventually(lambda: site.metrics().total("stream_redis_up") == 0, 2, "stream_redis_up is 0")
            load.run_for(max(seconds, 2 * APPEND_DEADLINE_S + 1) / 2)
            assert site.get("/readyz").status_code == 503
        redis.cont()
        load.wait_for_delivery(within_s=2)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.appended("outcome-unknown") >= 1
        assert load.live_reconnects() == 0
        assert load.slowest_append_s() < APPEND_DEADLINE_S + bound(0.2)
        assert load.slowest_read_s() < 2 + bound(0.2)
        assert load.longest_silence_s() < HEARTBEAT_S + bound(0.2)
        assert pulse.slowest_s < bound(_LAG_MAX_S)
        assert metrics.total("stream_append_rejected_total", reason="outcome_unknown") >= 1
        commands = metrics.total("stream_redis_command_seconds_count")
        assert commands - metrics.total("stream_redis_command_seconds_bucket", le="1.0") >= 1, "no time-out is shown"


def test_append_that_reached_the_stopped_redis_is_there_once(tmp_path: Path) -> None:
    """Redis runs it when it goes on; the retry finds it and gets its offset."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url, deadline_s=APPEND_DEADLINE_S) as site:
        stream = Stream(site, "faults/stopped")
        stream.create()
        assert stream.produce({"n": 0}, "p", 0).status_code == 200
        redis.stop()
        unknown = stream.produce({"n": 1}, "p", 1)
        assert (unknown.status_code, slug(unknown)) == (503, "outcome-unknown")
        assert "Retry-After" in unknown.headers
        redis.cont()
        eventually(site.is_ready, 2, "the site is ready")
        repeated = stream.produce({"n": 1}, "p", 1)
        assert repeated.status_code == 204
        assert repeated.headers["Stream-Next-Offset"] == stream.tail()
        assert stream.events() == [{"n": 0}, {"n": 1}]
        assert site.metrics().total("stream_append_duplicates_total") == 1
