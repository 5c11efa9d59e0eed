"""The cache when Redis is away, and where it looks for Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings

from streaming.private_redis import PrivateRedis
from streamsite.cache import SharedCache
from tests.support.redis_server import RedisServer


def test_missing_redis_is_a_miss_and_no_exception() -> None:
    """What django-ratelimit understands as "the cache is away"."""
    cache = SharedCache("unix:///nowhere/redis.sock", {})
    assert cache.add("a", 1) is False
    assert cache.get("a", 7) == 7
    with pytest.raises(ValueError, match="away"):
        cache.incr("a")


def test_values_are_shared_and_counted_atomically() -> None:
    """Two processes see one count."""
    with RedisServer("valkey-9.1") as server:
        one, other = SharedCache(server.url, {}), SharedCache(server.url, {})
        assert one.add("a", 1, 60) is True
        assert other.add("a", 1, 60) is False
        assert other.incr("a") == 2
        assert one.get("a") == 2
        for cache in (one, other):
            cache._cache.get_client(None, write=True).close()


def test_without_url_it_looks_for_the_embedded_server(tmp_path: Path) -> None:
    """It does not start one: a page of the admin is no reason to."""
    cache = SharedCache("", {})
    with override_settings(STREAMING={**settings.STREAMING, "DATA_DIR": tmp_path}):
        assert cache.get("a") is None
    assert cache._servers == [PrivateRedis(tmp_path).url]
    assert PrivateRedis(tmp_path).pid is None
