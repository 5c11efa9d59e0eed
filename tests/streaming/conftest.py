"""The log on every server that it must work on, each started once for the whole run.

A test that asks for `log` runs on all of them and takes a stream name of its own; one that breaks its server asks for `own_server`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from streaming.log.log import Log
from streaming.store import Store
from tests.streaming.log.scene import open_log
from tests.support.redis_server import REDIS_NAMES, RedisCluster, RedisServer

CLUSTER = "cluster"


@pytest.fixture(scope="session", params=[*REDIS_NAMES, CLUSTER])
def server(request: pytest.FixtureRequest) -> Iterator[RedisServer | RedisCluster]:
    """Every server in turn, shared by all tests: they must not break it."""
    started = RedisCluster() if request.param == CLUSTER else RedisServer(request.param, ("--loglevel", "warning"))
    with started:
        yield started


@pytest.fixture(scope="session")
def one_server() -> Iterator[RedisServer]:
    """The newest server, shared, for what does not depend on the version."""
    with RedisServer("valkey-9.1", port=0) as started:
        yield started


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may kill, fill and misconfigure."""
    with RedisServer("valkey-9.1", port=0) as started:
        yield started


@pytest.fixture
async def log(server: RedisServer | RedisCluster) -> AsyncIterator[Log]:
    """The log, on every server."""
    async with open_log(server.url) as opened:
        yield opened


@pytest.fixture
async def one_log(one_server: RedisServer) -> AsyncIterator[Log]:
    """The log, on the newest server."""
    async with open_log(one_server.url) as opened:
        yield opened


@pytest.fixture
async def own_log(own_server: RedisServer) -> AsyncIterator[Log]:
    """The log on a server that the test may break."""
    async with open_log(own_server.url) as opened:
        yield opened


@pytest.fixture
def name() -> str:
    """A stream name that nobody else uses."""
    return f"test/{secrets.token_hex(6)}"


@pytest.fixture
def store(log: Log) -> Store:
    """The log's connections."""
    return log.store


@pytest.fixture(scope="module")
def one_server_loop() -> Iterator[asyncio.Runner]:
    """A loop for tests that run many short scenes in one (hypothesis)."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def loop_log(one_server: RedisServer, one_server_loop: asyncio.Runner) -> Iterator[Log]:
    """The log of `one_server_loop`."""
    opening = open_log(one_server.url)
    yield one_server_loop.run(opening.__aenter__())
    one_server_loop.run(opening.__aexit__(None, None, None))
