"""FT6: Redis is out of memory and may not evict."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.faults.load import Load
from tests.faults.scene import Stream, fault_site, slug
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site

pytestmark = pytest.mark.faults

_SPARE_BYTES = 1024 * 1024


def test_full_redis_refuses_appends_and_serves_reads(tmp_path: Path, seed: int, seconds: float) -> None:
    """507 store-full and never a 500, nothing half-written; readers go on; space makes appends go on without a restart."""
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
        Load(site.address, seed) as load,
        redis.client() as client,
    ):
        filler = Stream(site, "faults/filler")
        filler.create()
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        client.config_set("maxmemory", client.info("memory")["used_memory"] + _SPARE_BYTES)
        refused = _fill(filler)
        assert (refused.status_code, slug(refused)) == (507, "store-full")
        _assert_whole(filler)
        eventually(lambda: load.appended("store-full") >= 3, 2, "the producers are refused too")
        assert site.get("/readyz").status_code == 200
        assert _reads_live(site, filler)
        assert filler.delete().status_code == 204
        load.wait_for_delivery(within_s=2)
        client.config_set("maxmemory", 0)
        load.run_for(seconds / 3)
        load.finish()
        metrics = site.metrics()
        assert load.check() == []
        assert load.live_reconnects() == 0
        assert metrics.total("stream_append_rejected_total", reason="store_full") >= 4
        assert 500 not in load.statuses()


def test_array_that_does_not_fit_is_not_half_written(tmp_path: Path) -> None:
    """Redis checks its memory before a script, not within: one append is taken or refused as a whole."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url) as site, redis.client() as client:
        stream = Stream(site, "faults/half")
        stream.create()
        stream.append({"n": "first"})
        tail = stream.tail()
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 1)
        refused = stream.append([{"n": number, "pad": "x" * 1000} for number in range(1000)])
        assert (refused.status_code, slug(refused)) == (507, "store-full")
        assert stream.tail() == tail
        assert stream.events() == [{"n": "first"}]
        client.config_set("maxmemory", 0)
        assert stream.append({"n": "second"}).status_code in (200, 204)
        assert stream.events() == [{"n": "first"}, {"n": "second"}]


def _fill(stream: Stream) -> httpx.Response:
    """Append until it is refused."""
    for number in range(200):
        answer = stream.append({"n": number, "pad": "x" * 50_000})
        if answer.status_code >= 400:
            return answer
    raise AssertionError("Redis took 10 MB into 1 MB")


def _assert_whole(stream: Stream) -> None:
    """What was taken is there, in a row."""
    found = []
    offset = "-1"
    while True:
        page = stream.read(offset)
        assert page.status_code == 200, page.text
        found += [event["n"] for event in page.json()] if page.content else []
        offset = page.headers["Stream-Next-Offset"]
        if page.headers.get("Stream-Up-To-Date") == "true":
            break
    assert found == list(range(len(found)))
    assert found


def _reads_live(site: Site, stream: Stream) -> bool:
    """A new live reader gets what is there."""
    with site.stream(stream.path, headers={"Accept": "text/event-stream"}) as response:
        return response.status_code == 200 and any('"n":' in text for text in response.iter_text())
