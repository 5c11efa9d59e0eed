"""The limit on sign-in attempts, with a real Redis behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.core.cache import caches
from django.test import Client, override_settings

from streamsite.admin_login import RATE
from tests.support.redis_server import RedisServer

ATTEMPT = {"username": "root", "password": "wrong"}
ALLOWED = int(RATE.partition("/")[0])


@contextmanager
def _cache_at(url: str) -> Iterator[None]:
    with override_settings(CACHES={"default": {"BACKEND": "streamsite.cache.SharedCache", "LOCATION": url}}):
        yield
    for cache in caches.all(initialized_only=True):
        cache.close()


@pytest.fixture
def redis_url() -> Iterator[str]:
    """A Redis of this test's own."""
    with RedisServer("valkey-9.1") as server:
        yield server.url


@pytest.mark.django_db
def test_attempts_over_the_limit_get_429(redis_url: str) -> None:
    """A list of passwords ends here; the page itself can still be looked at."""
    with _cache_at(redis_url):
        # Two windows' worth: the minute may end in between.
        statuses = [Client().post("/admin/login/", ATTEMPT).status_code for _ in range(2 * ALLOWED + 1)]
        assert statuses[:ALLOWED] == [200] * ALLOWED
        assert 429 in statuses
        refused = next(
            answer for _ in range(ALLOWED + 1) if (answer := Client().post("/admin/login/", ATTEMPT)).status_code == 429
        )
        assert refused["Retry-After"] == "60"
        assert Client().get("/admin/login/").status_code == 200


@pytest.mark.django_db
def test_addresses_are_counted_apart(redis_url: str) -> None:
    """One that attacks does not lock the others out."""
    with _cache_at(redis_url):
        for _ in range(2 * ALLOWED + 1):
            Client(REMOTE_ADDR="192.0.2.1").post("/admin/login/", ATTEMPT)
        assert Client(REMOTE_ADDR="192.0.2.2").post("/admin/login/", ATTEMPT).status_code == 200


@pytest.mark.django_db
def test_limit_fails_open_without_redis() -> None:
    """The administrator gets in when Redis is what is broken."""
    with _cache_at("unix:///nowhere/redis.sock"):
        statuses = {Client().post("/admin/login/", ATTEMPT).status_code for _ in range(ALLOWED + 2)}
    assert statuses == {200}


@pytest.mark.django_db
def test_admin_sends_strangers_to_the_limited_page() -> None:
    """There is one way in."""
    answer = Client().get("/admin/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/")
