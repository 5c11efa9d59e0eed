"""FT25: the clock of Redis goes back by a day."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.scene import Stream, fault_site
from tests.support.redis_server import RedisServer
from tests.support.site import Site

pytestmark = pytest.mark.faults

_BACK = {"STREAMSITE_FAILPOINT": "redis_time_shift_ms=-86400000"}


def test_redis_clock_going_back_never_repeats_an_offset(tmp_path: Path) -> None:
    """Sequence and generation rise all the same, in the same stream and in one that is made anew."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url) as site:
        kept, renewed = Stream(site, "faults/kept"), Stream(site, "faults/renewed")
        for stream in (kept, renewed):
            stream.create()
            stream.append({"n": 0})
        before = {stream: stream.tail() for stream in (kept, renewed)}
        site.restart(env=site.env | _BACK)
        kept.append({"n": 1})
        assert kept.tail() > before[kept]
        assert renewed.delete().status_code == 204
        created = renewed.create().headers["Stream-Next-Offset"]
        assert created > before[renewed]
        renewed.append({"n": 1})
        assert renewed.tail() > created
        assert renewed.tail()[:16] > before[renewed][:16]
        assert renewed.read(before[renewed]).status_code == 410
        assert renewed.events() == [{"n": 1}]
        assert _times(site, kept) == sorted(_times(site, kept))


def test_expiry_follows_the_clock_of_redis(tmp_path: Path) -> None:
    """A clock that went back lengthens a life and never ends it; when it is right again, the stream expires."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url) as site:
        stream = Stream(site, "faults/short", {"Stream-TTL": "3600"})
        stream.create()
        stream.append({"n": 0})
        forward = {"STREAMSITE_FAILPOINT": "redis_time_shift_ms=7200000"}
        right = dict(site.env)
        site.restart(env=right | _BACK)
        assert site.request("HEAD", stream.path).status_code == 200
        site.restart(env=right | forward)
        assert stream.read().status_code == 404


def _times(site: Site, stream: Stream) -> list[str]:
    page = site.get(stream.path, headers={"Accept": "application/x-ndjson"})
    return [json.loads(line)["time"] for line in page.text.split("\n") if '"time"' in line]
