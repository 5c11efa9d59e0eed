"""FT35: Redis comes back empty."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import Stream, fault_site, slug
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.faults


def _come_back_empty(redis: RedisServer) -> None:
    redis.kill()
    shutil.rmtree(redis.directory / "appendonlydir")
    redis.start()


def test_empty_redis_under_load_is_told_to_everyone(tmp_path: Path, seed: int, seconds: float) -> None:
    """Producers make the stream anew; every reader is told, and nobody is led on from `now` in silence."""
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
        Load(site.address, seed) as load,
    ):
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        _come_back_empty(redis)
        load.history.fence("came back empty")
        load.wait_for_delivery(within_s=2)
        load.run_for(seconds / 3)
        load.finish()
        assert load.check(may_lose_newest=True) == []
        told = {report.client for report in load.history.reported("stream-rewound", "stream-gone")}
        assert told >= {reader.name for reader in load.readers}
        assert site.metrics().total("stream_log_incarnation_changes_total") >= 1
        assert site.logged("log.incarnation")


def test_old_offset_of_an_empty_redis_is_never_followed_silently(tmp_path: Path) -> None:
    """404 while the stream is gone; 410 stream-rewound once it has been made anew, in catch-up and for live readers."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url) as site:
        stream = Stream(site, "faults/empty")
        stream.create()
        old = stream.append({"n": 0}).headers["Stream-Next-Offset"]
        with site.stream(stream.path, params={"offset": old}, headers={"Accept": "text/event-stream"}) as response:
            texts = response.iter_text()
            next(texts)
            _come_back_empty(redis)
            eventually(site.is_ready, 2, "the site is ready")
            assert stream.read(old).status_code == 404
            stream.create()
            new = stream.append({"n": 1}).headers["Stream-Next-Offset"]
            assert new > old
            assert _last_event(texts) in ("stream-rewound", "stream-gone")
        for query in ({}, {"live": "sse"}, {"live": "long-poll"}, {"live": "ndjson"}):
            answer = site.get(stream.path, params={"offset": old, **query})
            assert (answer.status_code, slug(answer)) == (410, "stream-rewound"), query
        assert stream.events() == [{"n": 1}]


def _last_event(texts: Iterator[str]) -> str:
    """The name of the last SSE event before the end."""
    name = ""
    for line in "".join(texts).split("\n"):
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        assert not line.startswith("data:") or "n" not in json.loads(line.removeprefix("data:")), line
    return name
