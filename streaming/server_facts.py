"""What a Redis server is, asked when a connection to it is made, and whether a log may be kept on it."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from streaming.errors import StreamsiteError

__all__ = ["FSYNCED_NEEDS", "SAFE_POLICIES", "ServerFacts", "UnsafeStoreError", "ask_facts", "check_safe", "parse_info"]

SAFE_POLICIES = frozenset({"noeviction"})
"""The others drop keys when memory is full, and with them acknowledged events, in silence."""
FSYNCED_NEEDS = (
    "fsynced needs an append-only file, and `appendfsync always` (the embedded server has it with "
    "STREAMSITE_DURABILITY=fsynced) or a Redis from 7.2 on; Valkey acknowledges WAITAOF before anything is on the disk"
)
"""What to do about a server that can't give it."""


class UnsafeStoreError(StreamsiteError):
    """This Redis may lose or misread data by its configuration; the site does not start on it."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a server said of itself when a connection was made.

    Args:
        run_id: new whenever its process is; the scripts join it with the replication id (`scripts/incarnation.inc.lua`).
        appends_fsync: `appendfsync always` on an append-only file: every reply is behind an fsync.
        has_true_waitaof: WAITAOF answers once the append-only file is on the disk: Redis' does, from 7.2 on, and Valkey 9.1's
            says so at once, with nothing on the disk (tests/faults/powercut/test_cut.py).
    """

    run_id: str
    version: tuple[int, int]
    kind: str
    is_cluster: bool
    policy: str
    aof_enabled: bool
    appends_fsync: bool
    has_true_waitaof: bool
    max_bytes: int
    connected_replicas: int

    def can_fsync(self) -> bool:
        """Whether an append can be acknowledged behind an fsync."""
        return self.appends_fsync or (self.aof_enabled and self.has_true_waitaof)


async def ask_facts(raw: AbstractConnection) -> ServerFacts:
    """Ask a server what it is, in one round trip.

    Raises: ConnectionRefusedError: it still loads its data, or is a replica, which refuses every write.
    """
    await raw.send_packed_command(raw.pack_commands([("INFO",), ("CONFIG", "GET", "appendfsync")]), check_health=False)
    info = parse_info(await raw.read_response(disable_decoding=True))
    try:
        config = await raw.read_response(disable_decoding=True)
    except ResponseError:
        config = []  # managed services forbid CONFIG
    is_valkey = "valkey_version" in info
    major, minor, *_ = (int(part) for part in info["valkey_version" if is_valkey else "redis_version"].split(".")[:2])
    aof_enabled = info.get("aof_enabled") == "1"
    if info.get("loading", "0") != "0":
        raise ConnectionRefusedError("this Redis still loads its data")
    if info.get("role") == "slave":
        raise ConnectionRefusedError("this Redis is a replica; give the address of the primary")
    return ServerFacts(
        run_id=info["run_id"],
        version=(major, minor),
        kind="Valkey" if is_valkey else "Redis",
        is_cluster=info.get("server_mode", info.get("redis_mode")) == "cluster",  # Valkey's word, and Redis'
        policy=info.get("maxmemory_policy", "noeviction"),
        aof_enabled=aof_enabled,
        appends_fsync=aof_enabled and b"always" in config,
        has_true_waitaof=not is_valkey and (major, minor) >= (7, 2),
        max_bytes=int(info.get("maxmemory", 0)),
        connected_replicas=int(info.get("connected_slaves", 0)),
    )


def parse_info(reply: bytes) -> dict[str, str]:
    """The fields of an INFO reply."""
    pairs = (line.split(":", 1) for line in reply.decode("utf-8", "replace").split("\r\n") if ":" in line)
    return dict(pairs)


def check_safe(facts: ServerFacts) -> None:
    """Refuse a server that this site must not keep a log on.

    Raises: UnsafeStoreError.
    """
    if facts.version < (6, 2):
        raise UnsafeStoreError(f"Redis {'.'.join(map(str, facts.version))} is too old, 6.2 or later is needed")
    if facts.policy not in SAFE_POLICIES:
        raise UnsafeStoreError(
            f"this Redis drops keys when its memory is full (maxmemory-policy {facts.policy}): acknowledged events would be "
            "lost in silence. Set it to noeviction: redis-cli CONFIG SET maxmemory-policy noeviction"
        )
