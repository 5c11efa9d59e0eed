"""Health under trouble: Redis stopped, full, refusing writes; and what appends and reads say then."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from streaming.api.health import READ_WITHIN_S, judge_writes
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A server of the module's own, which it may break."""
    with RedisServer("valkey-9.1", port=0) as started:
        yield started


@pytest.fixture(scope="module")
def own_site(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site on it."""
    env = {"STREAMSITE_APPEND_DEADLINE_S": "1", "STREAMSITE_READ_DEADLINE_S": "1"}
    with Site(tmp_path_factory.mktemp("health"), redis_url=redis.url, env=env) as running:
        running.request("PUT", "/v1/stream/a", headers=JSON, content=b"[1]")
        yield running


def test_healthy_site_says_so(own_site: Site) -> None:
    """Plain for machines, in words for people."""
    for path in ("/livez", "/healthz", "/readyz"):
        answer = own_site.get(path)
        assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (200, "ok", "no-store")
    facts = own_site.get("/readyz?verbose").json()
    assert facts == {"redis": "up", "writes": "accepted", "draining": False}


def test_stopped_redis_makes_it_unready_but_alive(own_site: Site, redis: RedisServer) -> None:
    """A stopped process accepts connections and answers nothing: only a read with a deadline shows it."""
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        answer = own_site.get("/readyz?verbose")
        took_s = time.monotonic() - began
        assert (answer.status_code, answer.json()["redis"]) == (503, "down")
        assert answer.json()["reason"]
        assert took_s < bound(READ_WITHIN_S + 0.5)
        began = time.monotonic()
        assert own_site.get("/livez").status_code == 200
        assert time.monotonic() - began < bound(0.2)
        for method in ("GET", "POST"):
            began = time.monotonic()
            refused = own_site.request(method, "/v1/stream/a", headers=JSON, content=b"2" if method == "POST" else None)
            assert refused.status_code == 503
            assert refused.json()["type"] in ("/problems/store-unavailable", "/problems/outcome-unknown")
            assert int(refused.headers["Retry-After"]) >= 1
            assert time.monotonic() - began < bound(1.5)
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    eventually(own_site.is_ready, 3, "the site is ready again")


def test_full_store_is_507_and_reading_goes_on(own_site: Site, redis: RedisServer) -> None:
    """Nothing is half-written, and appending works again when there is room."""
    eventually(own_site.is_ready, 3, "the site is ready")
    before = own_site.get("/v1/stream/a").content
    with Redis.from_url(redis.url) as client:
        client.config_set("maxmemory", "1")
        try:
            for method, path in (("POST", "/v1/stream/a"), ("PUT", "/v1/stream/b")):
                refused = own_site.request(method, path, headers=JSON, content=b"[2,3]")
                assert (refused.status_code, refused.json()["type"]) == (507, "/problems/store-full")
                assert "Retry-After" in refused.headers
            assert own_site.get("/v1/stream/a").content == before
            assert _verbose(own_site) == (200, "refused", "its memory is full")
        finally:
            client.config_set("maxmemory", "0")
    assert _verbose(own_site) == (200, "accepted", None)
    assert own_site.request("HEAD", "/v1/stream/b").status_code == 404
    assert own_site.request("POST", "/v1/stream/a", headers=JSON, content=b"[2,3]").status_code == 204


def test_store_that_refuses_writes_is_503_and_stays_ready(own_site: Site, redis: RedisServer) -> None:
    """Reading goes on, so requests should still come here."""
    before = own_site.get("/v1/stream/a").content
    with Redis.from_url(redis.url) as client:
        client.config_set("min-replicas-to-write", "1")
        try:
            refused = own_site.request("POST", "/v1/stream/a", headers=JSON, content=b"4")
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/store-readonly")
            assert "Retry-After" in refused.headers
            assert own_site.get("/v1/stream/a").content == before
            assert _verbose(own_site) == (200, "refused", "it has 0 of the replicas that it wants, 1")
        finally:
            client.config_set("min-replicas-to-write", "0")
    assert _verbose(own_site) == (200, "accepted", None)


FAILED_SNAPSHOT = {"rdb_last_bgsave_status": "err"}
SAVES = {"save": "3600 1", "stop-writes-on-bgsave-error": "yes"}


@pytest.mark.parametrize(
    ("info", "config", "writes"),
    [
        ({}, {}, "accepted"),
        ({"aof_last_write_status": "err"}, SAVES, "refused"),
        (FAILED_SNAPSHOT, SAVES, "refused"),
        (FAILED_SNAPSHOT, SAVES | {"stop-writes-on-bgsave-error": "no"}, "accepted"),
        (FAILED_SNAPSHOT, SAVES | {"save": ""}, "accepted"),
        (FAILED_SNAPSHOT, {}, "unknown"),
        ({"used_memory": "100", "maxmemory": "100"}, SAVES, "accepted"),
        ({"used_memory": "101", "maxmemory": "100"}, SAVES, "refused"),
        ({"used_memory": "101", "maxmemory": "100", "mem_not_counted_for_evict": "1"}, SAVES, "accepted"),
        ({"used_memory": "100", "maxmemory": "0"}, SAVES, "accepted"),
        ({"min_slaves_good_slaves": "1"}, {"min-replicas-to-write": "1"}, "accepted"),
        ({"min_slaves_good_slaves": "1"}, {"min-replicas-to-write": "2"}, "refused"),
        ({"min_slaves_good_slaves": "1"}, {}, "unknown"),
        ({"min_slaves_good_slaves": "0"}, {}, "refused"),
    ],
)
def test_writes_are_judged_as_redis_judges_them(info: dict[str, str], config: dict[str, str], writes: str) -> None:
    """Where CONFIG is forbidden, what it would decide is not said to be well."""
    assert judge_writes(info, config)[0] == writes


def _verbose(site: Site) -> tuple[int, str, str | None]:
    """Status, writes and reason of a readiness that people read."""
    answer = site.get("/readyz?verbose")
    return answer.status_code, answer.json()["writes"], answer.json().get("reason")
