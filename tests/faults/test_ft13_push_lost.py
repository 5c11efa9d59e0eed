"""FT13: pushes are lost: the subscription is cut by Redis, or its bytes vanish."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import Stream, fault_site
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx

pytestmark = pytest.mark.faults

_SUBSCRIBE = b"SUBSCRIBE"


def test_killed_subscription_loses_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """Redis cuts off a subscriber that lags: the new subscription fills the gap, nobody notices."""
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
        Load(site.address, seed) as load,
        redis.client() as client,
    ):
        for _ in range(3):
            load.run_for(seconds / 5)
            assert client.client_kill_filter(_type="pubsub") >= 1
            load.wait_for_delivery(within_s=1)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert metrics.total("stream_follower_gaps_total", cause="subscribe") >= 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_lost_push_is_found_by_the_next_one(tmp_path: Path, seed: int, seconds: float, workers: str) -> None:
    """Each push names the offset before it: the hole shows at once, and is read from the log."""
    with (
        RedisServer(port=0) as redis,
        Tcpx(("127.0.0.1", redis.port or 0), marks=[_SUBSCRIBE]) as proxy,
        fault_site(tmp_path, redis_url=proxy.redis_url, head_check_s="60", workers=workers) as site,
        Load(site.address, seed) as load,
    ):
        for _ in range(3):
            load.run_for(seconds / 5)
            proxy.discard("down", only=_SUBSCRIBE)
            eventually(lambda: proxy.lost_bytes() > 0, 1, "a push is lost")
            proxy.heal()
            load.wait_for_delivery(within_s=1)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert metrics.total("stream_follower_gaps_total") >= 1
        assert metrics.total("stream_follower_gap_events_total") >= 1


def test_lost_push_of_an_idle_stream_is_found_by_the_head_check(tmp_path: Path) -> None:
    """When no next push comes, the periodic look at the tail finds the event."""
    head_check_s = 1.0
    with (
        RedisServer(port=0) as redis,
        Tcpx(("127.0.0.1", redis.port or 0), marks=[_SUBSCRIBE]) as proxy,
        fault_site(tmp_path, redis_url=proxy.redis_url, head_check_s=str(head_check_s)) as site,
    ):
        stream = Stream(site, "faults/idle")
        stream.create()
        with site.stream(stream.path, headers={"Accept": "text/event-stream"}) as response:
            texts = response.iter_text()
            next(texts)
            stream.append({"n": "first"})
            _wait_for(texts, "first")
            proxy.discard("down", only=_SUBSCRIBE)
            stream.append({"n": "lost"})
            eventually(lambda: proxy.lost_bytes() > 0, 1, "the push is lost")
            proxy.heal()
            healed_mono = time.monotonic()
            _wait_for(texts, "lost")
            assert time.monotonic() - healed_mono < bound(head_check_s)
        assert site.metrics().total("stream_follower_gaps_total", cause="idle") == 1
        assert site.metrics().total("stream_follower_gap_events_total") == 1


def _wait_for(texts: Iterator[str], word: str) -> None:
    """Read until a word has come; the client's own timeout bounds it only together with heartbeats, so we do."""
    deadline_mono = time.monotonic() + bound(5)
    seen = ""
    while word not in seen:
        seen += next(texts)
        assert time.monotonic() < deadline_mono, seen
