"""Django's cache in the log's Redis: shared by all processes, quick to give up, and silent when Redis is away."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache.backends.redis import RedisCache
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

__all__ = ["SharedCache"]

_TIMEOUT_S = 0.5
"""It stands before a sign-in page: a person waits, and the log's appends must not wait for a slow Redis twice."""

_logger = logging.getLogger(__name__)


class SharedCache(RedisCache):
    """Django's RedisCache with the embedded server's address and without its way to fail.

    django-ratelimit takes "not added, can't be incremented" for a cache that is away and then obeys
    RATELIMIT_FAIL_OPEN; the exceptions of redis-py would pass through it and be a 500.
    """

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        options = {
            "socket_timeout": _TIMEOUT_S,
            "socket_connect_timeout": _TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        self._url = server
        super().__init__(server, {**params, "OPTIONS": options | params.get("OPTIONS", {})})

    @cached_property
    def _cache(self) -> Any:
        self._servers = [self._url or _embedded_url()]
        return super()._cache

    def add(self, *args: Any, **kwargs: Any) -> bool:
        """False when Redis is away, too."""
        try:
            return bool(super().add(*args, **kwargs))
        except RedisError as error:
            _log_away(error)
            return False

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """`default` when Redis is away."""
        try:
            return super().get(key, default, version)
        except RedisError as error:
            _log_away(error)
            return default

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Increment a value that is there.

        Raises: ValueError: it is not there, or Redis is away.
        """
        try:
            return int(super().incr(key, delta, version))
        except RedisError as error:
            _log_away(error)
            raise ValueError("the cache is away") from error


def _embedded_url() -> str:
    """The embedded server's address; it is not started for a cache."""
    from streaming.private_redis import PrivateRedis

    return PrivateRedis(settings.STREAMING["DATA_DIR"]).url


def _log_away(error: RedisError) -> None:
    _logger.warning("cache.away", extra={"reason": str(error)})
