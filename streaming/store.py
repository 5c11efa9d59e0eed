"""Connections to Redis: who the server is, is it safe, and one bounded way to call it.

redis-py's own pools are not used: they retry and reconnect in silence, and an append that is repeated after a lost reply
is in the log twice. Here a connection is made, asked who it talks to, used, and thrown away at the first sign of trouble;
what a call's failure means is told by its type:

    StoreError `store-unavailable`   the command was not sent
    StoreError `outcome-unknown`     it was sent, and no reply came
    redis.ResponseError              Redis refused it
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pybreaker
from hiredis import pack_command
from redis.asyncio.connection import Connection as RawConnection
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import RedisError, ResponseError

from observability import metrics
from streaming.errors import StoreError
from streaming.keys import BUCKETS, FORMAT_KEY, bucket_tag
from streaming.server_facts import SAFE_POLICIES, ServerFacts, UnsafeStoreError, ask_facts, check_safe

__all__ = ["DATA_FORMAT", "Connection", "Shard", "Store"]

DATA_FORMAT = 1
"""Version of what `log/scripts` write. A newer one in Redis is refused at start."""
MAX_CONNECTIONS = 16
"""For each shard and process; a read holds one for a round trip, so 16 are some 50,000 reads a second."""
CONNECT_TIMEOUT_S = 2.0
PROBE_AFTER_S = 0.25
"""How long a server that was away is left alone; delivery must go on within two seconds of its return."""

logger = logging.getLogger("streamsite.redis")


class Connection:
    """One connection, used by one task at a time."""

    def __init__(self, raw: RawConnection, facts: ServerFacts) -> None:
        self._raw = raw
        self.facts = facts

    @property
    def run_id(self) -> str:
        """Of the server process at the other end; it can't change while the connection lives."""
        return self.facts.run_id

    async def call(self, *command: Any) -> Any:
        """Send one command and return its reply.

        Raises: ResponseError: Redis refused it. OSError, RedisError: the connection is unusable.
        """
        (reply,) = await self.call_many([command])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def call_many(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands in one write and return their replies in order; a refusal is returned, not raised."""
        # redis-py packs in Python: 70 µs for a group of eight appends, hiredis 10.
        packed = b"".join([pack_command(tuple(command)) for command in commands])
        await self._raw.send_packed_command(packed, check_health=False)
        return [await self._read() for _ in commands]

    async def send(self, *command: Any) -> None:
        """Send a command whose reply comes by `receive`."""
        await self._raw.send_packed_command(pack_command(command), check_health=False)

    async def receive(self) -> Any:
        """Wait for the next message, without a deadline."""
        return await self._read()

    @property
    def is_usable(self) -> bool:
        """Whether the other end has not hung up while the connection was idle."""
        reader = self._raw._reader
        return reader is not None and not reader.at_eof()

    async def close(self) -> None:
        """Close at once; idempotent."""
        await self._raw.disconnect(nowait=True)

    def abort(self) -> None:
        """Close without waiting for anything."""
        self._raw._close()  # type: ignore[no-untyped-call]

    async def _read(self) -> Any:
        try:
            return await self._raw.read_response(disable_decoding=True)
        except ResponseError as refusal:
            return refusal


class Shard:
    """One Redis server: the only one, or one primary of a Cluster."""

    def __init__(self, store: Store, address: dict[str, Any]) -> None:
        self._store = store
        self._address = address
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._breaker = pybreaker.CircuitBreaker(fail_max=3, reset_timeout=PROBE_AFTER_S, throw_new_error_on_trip=False)
        self._probing = False
        self._probe_at_mono = 0.0
        self.facts: ServerFacts | None = None

    @asynccontextmanager
    async def connection(self, timeout_s: float, what: str, *, is_read: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection; whatever goes wrong in the body but a refusal by Redis closes it.

        Args:
            timeout_s: for waiting, connecting and the body together.
            what: is being done, for the error's text.
            is_read: nothing is written, so whatever happens, nothing was done.

        Raises: StoreError.
        """
        deadline = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self._places.acquire()
        except TimeoutError as error:
            # Redis is not to blame, and its other connections are in use.
            raise StoreError(
                503, "overloaded", f"{what}: too many requests wait for Redis; nothing was done"
            ) from error
        connection = None
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                connection = self._take_idle() or await self.connect()
                yield connection
        except ResponseError:
            self._give_back(connection)
            raise
        except (OSError, RedisError, TimeoutError) as error:
            await self._discard(connection)
            self.drop_idle()
            self._store.note_failure(error)
            raise self.failure(what, error, sent=connection is not None and not is_read) from error
        except BaseException:
            # Cancelled in the middle of a round trip: the next reply on this connection would be somebody else's.
            await self._discard(connection)
            raise
        else:
            self._give_back(connection)
            self._store.note_success()
        finally:
            self._places.release()

    async def connect(self) -> Connection:
        """Make a connection that the caller owns, and learn whom it talks to.

        Raises: OSError, RedisError. TimeoutError after two seconds.
        """
        is_probe = self._admit()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                raw = self._address["connection_class"](**self._address["kwargs"])
                try:
                    await raw.connect()
                    connection = Connection(raw, await ask_facts(raw))
                except BaseException:
                    await raw.disconnect(nowait=True)
                    raise
        except ResponseError as error:
            detail = f"this Redis refuses to say what it is ({error}); allow its user INFO"
            raise StoreError(503, "store-unavailable", detail) from error
        except (OSError, RedisError, TimeoutError) as error:
            self._record(error)
            raise
        finally:
            if is_probe:
                self._probing = False
        self._record(None)
        self._store.note_connected(self, connection.facts)
        self.facts = connection.facts
        return connection

    @staticmethod
    def failure(what: str, error: BaseException, *, sent: bool) -> StoreError:
        """The error that a caller gets, by whether the command can have had an effect."""
        cause = str(error) or type(error).__name__
        if sent:
            return StoreError(503, "outcome-unknown", f"{what}: sent to Redis, but no reply came ({cause})")
        return StoreError(503, "store-unavailable", f"{what}: Redis can't be reached ({cause}); nothing was done")

    def drop_idle(self) -> None:
        """Close what is not in use: after one failure the others are not to be trusted."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable:
                return connection
            connection.abort()
        return None

    def _give_back(self, connection: Connection | None) -> None:
        if connection is not None and len(self._idle) < MAX_CONNECTIONS:
            self._idle.append(connection)

    @staticmethod
    async def _discard(connection: Connection | None) -> None:
        if connection is not None:
            await connection.close()

    def _admit(self) -> bool:
        """First step of the breaker: fail at once while the server is known to be away, but for one probe; is this it?"""
        state = self._breaker.current_state
        if state == pybreaker.STATE_CLOSED:
            return False
        if self._probing or time.monotonic() < self._probe_at_mono:
            raise ConnectionRefusedError("Redis was away a moment ago, the next try is under way")
        self._probing = True
        self._breaker.half_open()
        return True

    def _record(self, error: BaseException | None) -> None:
        """Last step of the breaker. The awaited work itself is never wrapped in it, and a cancellation is no result."""

        def outcome() -> None:
            if error is not None:
                raise error

        try:
            self._breaker.call(outcome)
        except (OSError, RedisError, TimeoutError, pybreaker.CircuitBreakerError):
            self._probe_at_mono = time.monotonic() + PROBE_AFTER_S


class Store:
    """All servers that hold the log, found by bucket.

    Args:
        url: redis://, rediss:// or unix://; of a Cluster, any node.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        kwargs = dict(parse_url(url))
        self._connection_class = kwargs.pop("connection_class", RawConnection)
        self._kwargs = kwargs | {
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_timeout": None,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "health_check_interval": 0,
            "decode_responses": False,
        }
        self._seed = Shard(self, self._address())
        self._by_bucket: list[Shard] | None = None
        self._slots: list[tuple[int, int, Shard]] = []
        self._cluster_lock = asyncio.Lock()
        self._incarnations: dict[int, str] = {}
        self._is_up: bool | None = None
        self._lost_mono = 0.0
        self.is_cluster = False

    @property
    def shards(self) -> list[Shard]:
        """Every server that is known now, each once."""
        if self._by_bucket is None:
            return [self._seed]
        return list(dict.fromkeys(self._by_bucket))

    @property
    def is_up(self) -> bool:
        """Whether the last thing heard of Redis was good."""
        return self._is_up is not False

    async def open(self, timeout_s: float) -> ServerFacts:
        """Reach Redis, check that it is safe and that its data are of a format we know.

        Raises: UnsafeStoreError, StoreError.
        """
        async with self._seed.connection(timeout_s, "starting") as connection:
            facts = connection.facts
            self.is_cluster = facts.is_cluster
            check_safe(facts)
            if not self.is_cluster:
                await check_format(connection)
        if self.is_cluster:
            await self.refresh_cluster(timeout_s)
            for shard in self.shards:
                async with shard.connection(timeout_s, "starting") as connection:
                    check_safe(connection.facts)
            async with self._by_slot(key_slot(FORMAT_KEY.encode())).connection(timeout_s, "starting") as connection:
                await check_format(connection)
        return facts

    def shard(self, bucket: int) -> Shard:
        """The server that holds a bucket."""
        return self._seed if self._by_bucket is None else self._by_bucket[bucket]

    async def refresh_cluster(self, timeout_s: float) -> None:
        """Ask the Cluster who holds which slot: at start, and after a MOVED or a lost node.

        Raises: StoreError.
        """
        async with self._cluster_lock:
            error: StoreError | None = None
            for shard in [*self.shards, self._seed]:
                try:
                    async with shard.connection(
                        timeout_s, "asking for the Cluster's slots", is_read=True
                    ) as connection:
                        ranges = await connection.call("CLUSTER", "SLOTS")
                    break
                except StoreError as failed:
                    error = failed
            else:
                raise error or StoreError(503, "store-unavailable", "no node of the Cluster can be reached")
            known = {(s._address["kwargs"]["host"], s._address["kwargs"]["port"]): s for s in self.shards}
            self._slots = []
            for first, last, primary, *_ in ranges:
                host, port = primary[0].decode() or self._kwargs.get("host", "localhost"), int(primary[1])
                shard = known.get((host, port)) or Shard(self, self._address(host=host, port=port))
                known[host, port] = shard
                self._slots.append((int(first), int(last), shard))
            self._by_bucket = [self._by_slot(key_slot(bucket_tag(b).encode())) for b in range(BUCKETS)]

    async def close(self) -> None:
        """Close every idle connection."""
        for shard in [*self.shards, self._seed]:
            shard.drop_idle()

    def note_connected(self, shard: Shard, facts: ServerFacts) -> None:
        """Keep count of what a new connection tells about its server."""
        seen = self._incarnations.get(id(shard))
        if seen is not None and seen != facts.run_id:
            metrics.log_incarnation_changes.inc()
            logger.warning("log.incarnation", extra={"old": seen, "new": facts.run_id})
        self._incarnations[id(shard)] = facts.run_id
        if facts.policy not in SAFE_POLICIES:
            logger.error("redis.unsafe_policy", extra={"policy": facts.policy})
        self.note_success()

    def note_success(self) -> None:
        """Note that Redis did what it should."""
        if self._is_up is False:
            metrics.redis_reconnects.inc()
            logger.warning("redis.back", extra={"gap_ms": round((time.monotonic() - self._lost_mono) * 1000)})
        if self._is_up is not True:
            self._is_up = True
            metrics.redis_up.set(1)

    def note_failure(self, error: BaseException) -> None:
        """Note that Redis did not do what it should; logged once until it is back."""
        if self._is_up is not False:
            self._lost_mono = time.monotonic()
            logger.error("redis.lost", extra={"error": str(error) or type(error).__name__})
        self._is_up = False
        metrics.redis_up.set(0)

    def _by_slot(self, slot: int) -> Shard:
        for first, last, shard in self._slots:
            if first <= slot <= last:
                return shard
        raise StoreError(503, "store-unavailable", f"no node of the Cluster holds slot {slot}")

    def _address(self, **override: Any) -> dict[str, Any]:
        return {"connection_class": self._connection_class, "kwargs": self._kwargs | override}


async def check_format(connection: Connection) -> None:
    """Mark new data with their format; refuse data of a format that we don't know.

    Raises: UnsafeStoreError.
    """
    try:
        # Asked first: a Redis that is full, or takes no writes for another reason, can still be read from.
        if (found := await connection.call("GET", FORMAT_KEY)) is None:
            await connection.call("SET", FORMAT_KEY, DATA_FORMAT, "NX")
            found = await connection.call("GET", FORMAT_KEY)
    except ResponseError as error:
        raise UnsafeStoreError(
            f"this Redis holds no log yet, or does not let it be read, and takes none: it answers {str(error)!r}"
        ) from error
    if found != b"%d" % DATA_FORMAT:
        raise UnsafeStoreError(
            f"the data in Redis have format {found.decode('utf-8', 'replace')[:20]}, this version of streamsite knows {DATA_FORMAT}: "
            "start the version that wrote them, or a later one"
        )
