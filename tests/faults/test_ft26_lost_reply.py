"""FT26: an append is done, and its reply is lost on the way."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.faults.scene import JSON, Stream, fault_site, slug
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx

pytestmark = pytest.mark.faults

_MARK = b"MARKED-APPEND"


@pytest.mark.parametrize("after_bytes", [0, 3])
def test_reply_lost_between_redis_and_site_is_settled_by_the_retry(tmp_path: Path, after_bytes: int) -> None:
    """The outcome is said to be unknown; the same seq gets 204 with the offset of the first, and the log has it once."""
    with (
        RedisServer(port=0) as redis,
        Tcpx(("127.0.0.1", redis.port or 0), marks=[_MARK]) as proxy,
        fault_site(tmp_path, redis_url=proxy.redis_url) as site,
    ):
        stream = Stream(site, "faults/reply")
        stream.create()
        stream.produce({"n": 0}, "p", 0)
        proxy.drop_reply(_MARK, after_bytes=after_bytes)
        unknown = stream.produce({"n": 1, "mark": _MARK.decode()}, "p", 1)
        assert (unknown.status_code, slug(unknown)) == (503, "outcome-unknown")
        assert proxy.dropped_replies() == 1
        tail = stream.tail()
        repeated = stream.produce({"n": 1, "mark": _MARK.decode()}, "p", 1)
        assert repeated.status_code == 204
        assert repeated.headers["Stream-Next-Offset"] == tail
        assert [event["n"] for event in stream.events()] == [0, 1]
        assert site.metrics().total("stream_append_duplicates_total") == 1


def test_append_without_seq_is_never_repeated_by_us(tmp_path: Path) -> None:
    """redis-py's default would write it twice and report success: here it is once, and said to be unknown."""
    with (
        RedisServer(port=0) as redis,
        Tcpx(("127.0.0.1", redis.port or 0), marks=[_MARK]) as proxy,
        fault_site(tmp_path, redis_url=proxy.redis_url) as site,
    ):
        stream = Stream(site, "faults/reply")
        stream.create()
        stream.append({"n": 0})
        proxy.drop_reply(_MARK)
        unknown = stream.append({"mark": _MARK.decode()})
        assert (unknown.status_code, slug(unknown)) == (503, "outcome-unknown")
        eventually(site.is_ready, 2, "the site is ready")
        assert stream.events() == [{"n": 0}, {"mark": _MARK.decode()}]


def test_reply_lost_between_site_and_client_is_settled_by_the_retry(tmp_path: Path) -> None:
    """The client sees half a status line; its retry gets 204 and the same offset."""
    with fault_site(tmp_path) as site, Tcpx(site.address, marks=[_MARK]) as proxy:
        stream = Stream(site, "faults/client")
        stream.create()
        url = f"http://127.0.0.1:{proxy.port}{stream.path}"
        headers = JSON | {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
        event = {"mark": _MARK.decode()}
        proxy.drop_reply(_MARK, after_bytes=9)
        with pytest.raises(httpx.TransportError):
            httpx.post(url, json=event, headers=headers, timeout=bound(2), trust_env=False)
        eventually(lambda: stream.events() == [event], 2, "the append was done")
        repeated = httpx.post(url, json=event, headers=headers, timeout=bound(2), trust_env=False)
        assert repeated.status_code == 204
        assert repeated.headers["Stream-Next-Offset"] == stream.tail()
        assert stream.events() == [event]
        assert site.metrics().total("stream_append_duplicates_total") == 1
