"""FT27: two producers with one id, then one with a newer epoch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.faults.scene import Stream, fault_site, slug
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.faults

_COUNT = 60


def test_two_producers_with_one_id_write_each_seq_once(tmp_path: Path) -> None:
    """One wins each seq; the other hears that it is there, or that it is ahead; nothing is twice and nothing is missing."""
    with fault_site(tmp_path) as site:
        stream = Stream(site, "faults/two")
        stream.create()

        def produce(name: str) -> list[httpx.Response]:
            return [stream.produce({"seq": seq, "by": name}, "shared", seq) for seq in range(_COUNT)]

        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(produce, ("a", "b"))
        for seq, answers in enumerate(zip(first, second, strict=True)):
            assert sorted(answer.status_code for answer in answers) == [200, 204], seq
        events = stream.events()
        assert [event["seq"] for event in events] == list(range(_COUNT))
        winners = ["a" if answer.status_code == 200 else "b" for answer in first]
        assert [event["by"] for event in events] == winners
        ahead = stream.produce({"seq": _COUNT + 5}, "shared", _COUNT + 5)
        assert (ahead.status_code, slug(ahead)) == (409, "producer-gap")
        assert ahead.headers["Producer-Expected-Seq"] == str(_COUNT)
        assert ahead.headers["Producer-Received-Seq"] == str(_COUNT + 5)


def test_old_epoch_is_fenced_for_ever(tmp_path: Path) -> None:
    """Also when the site, and Redis, have been started anew."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url) as site:
        stream = Stream(site, "faults/fenced")
        stream.create()
        assert stream.produce({"n": 0}, "p", 0).status_code == 200
        late = stream.produce({"n": 9}, "p", 5, epoch=1)
        assert (late.status_code, slug(late)) == (400, "producer-epoch-start")
        assert stream.produce({"n": 1}, "p", 0, epoch=1).status_code == 200

        def assert_fenced() -> None:
            for seq in (0, 1):
                fenced = stream.produce({"n": "zombie"}, "p", seq)
                assert (fenced.status_code, slug(fenced)) == (403, "producer-fenced")
                assert fenced.headers["Producer-Epoch"] == "1"

        assert_fenced()
        assert site.metrics().total("stream_producer_fenced_total") == 2
        site.restart()
        assert_fenced()
        site.kill()
        redis.kill()
        redis.start()
        site.start()
        assert_fenced()
        assert stream.events() == [{"n": 0}, {"n": 1}]
