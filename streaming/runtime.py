"""What runs in a process while it serves streams: store, log, follower, sweeper; built from the settings, once for each loop.

`start` and `stop` are for a server that says when it begins and ends; under one that does not, the first use starts it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from django.apps import apps

from observability import metrics
from observability.clock_watch import watch_clock
from streaming.errors import StoreError
from streaming.feed.follower import Follower
from streaming.log.appender import Appender
from streaming.log.log import Log
from streaming.log.sweeper import Sweeper
from streaming.private_redis import PrivateRedis
from streaming.server_facts import FSYNCED_NEEDS, ServerFacts, UnsafeStoreError
from streaming.store import Store
from streaming.store_watch import watch_store
from streaming.tasks import own_task

if TYPE_CHECKING:
    from streaming.apps import StreamingConfig
    from streaming.conf import StreamingSettings

__all__ = ["Runtime", "drain", "get", "private_redis", "probe", "serving", "settings", "start", "stop"]

logger = logging.getLogger("streamsite.runtime")


class Runtime:
    """The parts, wired. Use `get`."""

    def __init__(self, settings: StreamingSettings) -> None:
        self.settings = settings
        self._tasks: list[asyncio.Task[None]] = []
        self._has_store = False
        self.is_closed = False

    async def open(self) -> None:
        """Reach Redis, or start it, and begin.

        Raises: UnsafeStoreError, StoreError.
        """
        settings = self.settings
        private = None if settings.redis_url else private_redis(settings)
        url = settings.redis_url or ""
        if private is not None:
            url = await asyncio.to_thread(private.ensure)
        self.store = Store(url)
        self._has_store = True
        facts = await _open_store(self.store, settings)
        metrics.log_durability_info.labels(str(settings.durability)).set(1)
        self.log = Log(
            self.store,
            settings.durability,
            settings.append_deadline_s,
            settings.read_deadline_s,
            settings.retention,
        )
        self.appender = Appender(self.log, settings)
        self.follower = Follower(self.log, settings.window_bytes, settings.page_bytes, settings.head_check_s)
        self.follower.start()
        self._tasks.append(own_task(Sweeper(self.log).run(), "sweeper"))
        self._tasks.append(own_task(watch_store(self.store), "store-watch"))
        self._tasks.append(own_task(watch_clock(), "clock-watch"))
        if private is not None:
            self._tasks.append(own_task(private.watch(), "private-redis"))
        logger.info("streaming.started", extra={"store": facts.kind, "version": ".".join(map(str, facts.version))})

    @property
    def is_draining(self) -> bool:
        """Whether it prepares for its end: no new live readers, and a load balancer should look elsewhere."""
        return self.follower.is_draining

    async def abandon(self) -> None:
        """Give back what an `open` that failed had taken."""
        if self._has_store:
            await self.store.close()

    async def close(self) -> None:
        """End everything that `open` began; the private server goes on."""
        self.is_closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.follower.close()
        await self.log.close()
        await self.store.close()


def private_redis(settings: StreamingSettings) -> PrivateRedis:
    """The embedded server that these settings describe; not started."""
    return PrivateRedis(
        settings.data_dir,
        settings.redis_server,
        settings.redis_maxmemory,
        "always" if settings.durability.is_fsynced else "everysec",
    )


def settings() -> StreamingSettings:
    """The settings, which are there before anything is started."""
    return _config().settings


async def probe(settings: StreamingSettings, url: str) -> ServerFacts:
    """See whether a log can be kept on this Redis, before anything is started that would use it.

    Raises: UnsafeStoreError, StoreError.
    """
    store = Store(url)
    try:
        return await _open_store(store, settings)
    finally:
        await store.close()


async def get() -> Runtime:
    """The runtime of the running loop, started when this is its first use.

    All who come while it starts wait for the one start, and hear what became of it.

    Raises: UnsafeStoreError, StoreError.
    """
    config = _config()
    loop = asyncio.get_running_loop()
    runtime = config.runtimes.get(loop)
    if runtime is not None:
        return runtime
    opening = config.openings.get(loop)
    if opening is None:
        opening = config.openings[loop] = loop.create_task(_open(config), name="streaming-start")
        opening.add_done_callback(lambda _: config.openings.pop(loop, None))
    return await asyncio.shield(opening)


async def serving() -> Runtime:
    """The runtime, for one more request.

    Raises: StoreError: the site stops and takes none. UnsafeStoreError.
    """
    site = await get()
    if site.is_closed:
        raise StoreError(503, "draining", "this process is stopping; try again, another one answers")
    return site


async def start() -> None:
    """Begin serving streams in this loop."""
    await get()


def drain(spread_s: float) -> None:
    """Prepare for the end: take no new live readers, and let those there are leave over the next seconds.

    Appends and reads of what is there go on until `stop`.
    """
    runtime = _config().runtimes.get(asyncio.get_running_loop())
    if runtime is not None:
        runtime.follower.drain(spread_s)


async def stop() -> None:
    """End what serves streams in this loop, for good: who asks for it later is told that it drains; idempotent."""
    runtime = _config().runtimes.get(asyncio.get_running_loop())
    if runtime is not None and not runtime.is_closed:
        await runtime.close()


async def _open_store(store: Store, settings: StreamingSettings) -> ServerFacts:
    """Reach the log's server and see that it can do what the settings promise.

    Raises: UnsafeStoreError, StoreError.
    """
    facts = await store.open(settings.append_deadline_s)
    if settings.durability.is_fsynced and not facts.can_fsync():
        raise UnsafeStoreError(f"durability {FSYNCED_NEEDS}; this server would acknowledge appends that no disk holds")
    return facts


async def _open(config: StreamingConfig) -> Runtime:
    runtime = Runtime(config.settings)
    try:
        await runtime.open()
    except BaseException:
        await runtime.abandon()
        raise
    config.runtimes[asyncio.get_running_loop()] = runtime
    return runtime


def _config() -> StreamingConfig:
    return cast("StreamingConfig", apps.get_app_config("streaming"))
