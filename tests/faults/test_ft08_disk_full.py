"""FT8: the disk of the append-only file is full."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import httpx
import pytest

from tests.faults.scene import Stream, fault_site, slug
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer, redis_binary

pytestmark = pytest.mark.faults

_LIMIT_BYTES = 300_000


def _append_until_refused(stream: Stream, acknowledged: list[str]) -> httpx.Response:
    for number in range(1000):
        answer = stream.append({"n": number, "pad": "x" * 2000})
        if answer.status_code >= 400:
            return answer
        acknowledged.append(answer.headers["Stream-Next-Offset"])
    raise AssertionError("2 MB went into 300 KB")


def test_full_disk_under_everysec_refuses_writes_and_heals(tmp_path: Path) -> None:
    """503 store-readonly with a time to come back, reads go on, and space makes it well without hands."""
    with (
        RedisServer(port=0, wrapper=("prlimit", f"--fsize={_LIMIT_BYTES}:")) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
    ):
        stream = Stream(site, "faults/disk")
        stream.create()
        acknowledged: list[str] = []
        refused = _append_until_refused(stream, acknowledged)
        assert (refused.status_code, slug(refused)) == (503, "store-readonly")
        assert int(refused.headers["Retry-After"]) >= 1
        assert len(stream.events()) >= len(acknowledged)
        with site.stream(stream.path, params={"live": "sse", "offset": "-1"}) as live:
            assert live.status_code == 200
            assert "data:" in next(live.iter_text())
        assert site.get("/readyz").status_code == 200
        assert site.get("/readyz?verbose").json()["writes"] == "refused"
        eventually(lambda: site.metrics().total("stream_redis_aof_last_write_ok") == 0, 5, "the gauge shows it")
        for _ in range(50):
            stream.append({"n": "more"})
        assert len(site.logged("store.refused")) <= 5, "MISCONF is logged once a second at most"
        resource.prlimit(redis.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        eventually(lambda: stream.append({"n": "healed"}).status_code == 204, 5, "writes are taken again")
        redis.kill()
        redis.wrapper = ()
        redis.start()
        eventually(site.is_ready, 2, "the site is ready")
        assert stream.events()[-1] == {"n": "healed"}


def test_full_disk_and_a_crash_lose_the_newest_and_say_so(tmp_path: Path) -> None:
    """What Redis had acknowledged and could not write: at most the last flush, and the reader that saw it is told."""
    with (
        RedisServer(port=0, wrapper=("prlimit", f"--fsize={_LIMIT_BYTES}:")) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
    ):
        stream = Stream(site, "faults/disk")
        stream.create()
        acknowledged: list[str] = []
        _append_until_refused(stream, acknowledged)
        redis.kill()
        redis.wrapper = ()
        redis.start()
        eventually(site.is_ready, 2, "the site is ready")
        tail = stream.tail()
        lost = [offset for offset in acknowledged if offset > tail]
        assert len(lost) < 20
        for offset in lost:
            answer = stream.read(offset)
            assert (answer.status_code, slug(answer)) == (410, "stream-rewound")
        assert stream.append({"n": "new"}).headers["Stream-Next-Offset"] > acknowledged[-1]


def test_full_disk_under_always_ends_redis_and_loses_nothing(tmp_path: Path) -> None:
    """Redis exits rather than lie; the supervisor tries again until there is space, and everything is there."""
    full = tmp_path / "full"
    server = tmp_path / "server"
    # SIGXFSZ must stay ignored, or the limit kills the process instead of failing its write.
    server.write_text(
        f"#!/bin/sh\ntrap '' XFSZ\n[ -e {full} ] && exec prlimit --fsize={_LIMIT_BYTES} {redis_binary('valkey-9.1')} \"$@\"\n"
        f'exec {redis_binary("valkey-9.1")} "$@"\n'
    )
    server.chmod(0o700)
    full.touch()
    with fault_site(tmp_path, redis_server=str(server), durability="fsynced") as site:
        stream = Stream(site, "faults/disk")
        stream.create()
        acknowledged: list[str] = []
        refused = _append_until_refused(stream, acknowledged)
        assert refused.status_code == 503
        eventually(lambda: site.logged("redis.exited"), 5, "Redis has ended")
        full.unlink()
        # One that was started with the limit has it for life.
        if (pid := site.find_redis_pid()) is not None:
            os.kill(pid, signal.SIGKILL)
        eventually(site.is_ready, 30, "the supervisor has brought it back")
        found = stream.events_with_offsets()
        assert [offset for offset in acknowledged if offset not in found] == []
        assert stream.append({"n": "healed"}).status_code == 204
