"""FT28: the site crashes between two steps, at each failpoint in turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import httpx
import pytest

from streaming import failpoints
from streaming.durability import Durability
from streaming.log.log import Log
from streaming.log.sweeper import Sweeper
from streaming.store import Store
from tests.faults.scene import JSON, Stream, fault_site
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site

pytestmark = pytest.mark.faults

_CRASH_CODE = 9
_APPENDS = {"before_append": 200, "after_append": 204, "after_append_before_durable": 204}
"""What the retry is answered: the append was not there, or it was."""
_FORKS = ("fork_pinned", "fork_created")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """One Redis for all points."""
    with RedisServer(args=("--appendfsync", "always"), port=0) as server:
        yield server


@pytest.fixture(scope="module")
def site(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One site for all points: each test arms its own and starts it anew."""
    with fault_site(tmp_path_factory.mktemp("ft28"), redis_url=redis.url, durability="fsynced") as started:
        yield started


@pytest.fixture
def calm(site: Site) -> Mapping[str, str]:
    """The environment with nothing armed."""
    return {name: value for name, value in site.env.items() if name != failpoints.VARIABLE}


def _wait_for_crash(site: Site) -> None:
    """The worker has ended by the failpoint, and by nothing else."""
    eventually(
        lambda: any(line["status"] == _CRASH_CODE for line in site.logged("worker.died")), 2, "the worker has crashed"
    )
    site.log_path.write_text("")  # the next crash is another one


def test_every_failpoint_has_its_crash() -> None:
    """A new failpoint needs a row here."""
    assert {*_APPENDS, *_FORKS, "redis_time_shift_ms"} == set(failpoints.KNOWN)


@pytest.mark.parametrize("point", _APPENDS)
def test_append_interrupted_by_a_crash_is_settled_by_its_retry(site: Site, calm: Mapping[str, str], point: str) -> None:
    """Before the script: the retry writes. After it: the retry is a duplicate with the offset of the first."""
    site.restart(env=calm)
    stream = Stream(site, f"faults/{point}")
    stream.create()
    stream.produce({"n": 0}, "p", 0)
    site.restart(env={**calm, failpoints.VARIABLE: f"{point}=exit"})
    with pytest.raises(httpx.TransportError):
        stream.produce({"n": 1}, "p", 1)
    _wait_for_crash(site)
    site.restart(env=calm)
    repeated = stream.produce({"n": 1}, "p", 1)
    assert repeated.status_code == _APPENDS[point], repeated.text
    assert repeated.headers["Stream-Next-Offset"] == stream.tail()
    assert stream.events() == [{"n": 0}, {"n": 1}]
    assert site.metrics().total("stream_append_duplicates_total") == (1 if _APPENDS[point] == 204 else 0)


@pytest.mark.parametrize("point", _FORKS)
async def test_fork_interrupted_by_a_crash_is_settled_by_its_retry(
    site: Site, redis: RedisServer, calm: Mapping[str, str], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The retry makes it or finds it; source and fork are whole, and both can be deleted without a trace."""
    site.restart(env=calm)
    source, fork = Stream(site, f"faults/{point}"), Stream(site, f"faults/{point}-fork")
    source.create()
    source.append({"n": 0})
    source.append({"n": 1})
    site.restart(env={**calm, failpoints.VARIABLE: f"{point}=exit"})
    headers = JSON | {"Stream-Forked-From": source.path}
    with pytest.raises(httpx.TransportError):
        site.request("PUT", fork.path, headers=headers)
    _wait_for_crash(site)
    site.restart(env=calm)
    repeated = site.request("PUT", fork.path, headers=headers)
    assert repeated.status_code in (200, 201), repeated.text
    assert fork.events() == [{"n": 0}, {"n": 1}]
    fork.append({"n": "fork"})
    source.append({"n": "source"})
    assert fork.events() == [{"n": 0}, {"n": 1}, {"n": "fork"}]
    assert source.events() == [{"n": 0}, {"n": 1}, {"n": "source"}]
    assert source.delete().status_code == 204
    assert source.read().status_code == 410
    assert fork.events() == [{"n": 0}, {"n": 1}, {"n": "fork"}]
    assert fork.delete().status_code == 204
    # A crash before the fork was there leaves a mark in the source, which a later sweep takes out.
    monkeypatch.setattr(failpoints, "_armed", failpoints._parse("redis_time_shift_ms=61000"))
    await _sweep(redis.url)
    assert source.read().status_code == 404
    assert fork.read().status_code == 404
    assert source.create().status_code == 201


async def _sweep(url: str) -> None:
    store = Store(url)
    await store.open(2)
    log = Log(store, Durability(), 2, 2)
    try:
        await Sweeper(log).sweep()
    finally:
        await log.close()
        await store.close()
