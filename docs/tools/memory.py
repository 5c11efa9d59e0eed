"""Measures what the log costs: bytes of Redis' memory and of its append-only file, for each event and each stream.

    .venv/bin/python -m docs.tools.memory                     with the embedded server
    .venv/bin/python -m docs.tools.memory --redis-server redis-server

A server of its own is started in a temporary directory and ended again. The figures are differences of Redis' own
`used_memory`, so they hold what Redis' data structures and its allocator need beside the data.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from streaming.durability import WRITTEN
from streaming.events import NewEvent
from streaming.log.log import Log
from streaming.log.outcome import AppendRequest, CreateRequest
from streaming.private_redis import PrivateRedis
from streaming.store import Store

__all__ = ["measure"]

EVENTS: Sequence[tuple[int, int]] = (
    (10, 100_000),
    (100, 100_000),
    (1024, 50_000),
    (10 * 1024, 10_000),
    (100 * 1024, 1000),
)
"""Bytes of data, and how many events of that size are appended."""
STREAMS = 10_000
MEDIA = "application/octet-stream"
BATCH_BYTES = 1024 * 1024
_REQUEST_ID = "4f8f1d9e-7c1b-4f0e-9d58-2f3c8a1b7e60"
"""An event carries the id of its request; a UUID is what one gets that brought none."""


class Measured:
    """One server, its log, and what it says of itself."""

    def __init__(self, store: Store, log: Log, directory: Path) -> None:
        self._store = store
        self._directory = directory
        self.log = log

    async def used_bytes(self) -> int:
        """Redis' memory."""
        async with self._store.shard(0).connection(30, "measuring") as connection:
            info = (await connection.call("INFO", "memory")).decode()
        return int(info.partition("used_memory:")[2].split()[0])

    def file_bytes(self) -> int:
        """All of the append-only file."""
        return sum(path.stat().st_size for path in self._directory.rglob("*.aof"))

    async def fill(self, name: str, size: int, count: int) -> None:
        """Create a stream and append so many events of so many random bytes."""
        await self.log.create(name, CreateRequest(content_type=MEDIA))
        a_batch = max(1, min(count, BATCH_BYTES // size, 1000))
        for _ in range(0, count, a_batch):
            events = [NewEvent(secrets.token_bytes(size), request_id=_REQUEST_ID) for _ in range(a_batch)]
            await self.log.append(name, AppendRequest(events, MEDIA))


async def measure(measured: Measured) -> list[str]:
    """Rows of two Markdown tables."""
    rows = ["| an event of | memory | beside the data | append-only file | fit into 1 GiB |", "|---|---|---|---|---|"]
    for size, count in EVENTS:
        memory, file = await measured.used_bytes(), measured.file_bytes()
        await measured.fill(f"events/{size}", size, count)
        each = (await measured.used_bytes() - memory) / count
        on_disk = (measured.file_bytes() - file) / count
        rows.append(
            f"| {_size(size)} | {each:,.0f} bytes | {each - size:,.0f} bytes | {on_disk:,.0f} bytes | {_count(2**30 / each)} |"
        )
    rows += ["", "| a stream with | memory | fit into 1 GiB |", "|---|---|---|"]
    for count, words in ((0, "no event"), (1, "one event of 100 bytes"), (10, "ten events of 100 bytes")):
        memory = await measured.used_bytes()
        names = [f"site/{count}/user-{number:06d}" for number in range(STREAMS)]
        for start in range(0, STREAMS, 500):
            await asyncio.gather(*(measured.fill(name, 100, count) for name in names[start : start + 500]))
        each = (await measured.used_bytes() - memory) / STREAMS
        rows.append(f"| {words} | {each:,.0f} bytes | {_count(2**30 / each)} |")
    return rows


async def run(binary: str | None) -> list[str]:
    """Measure on a server of our own."""
    with tempfile.TemporaryDirectory(prefix="streamsite-memory-", dir="/tmp") as folder:
        # A rewrite of the append-only file would run beside the measurement, and be in it.
        quiet = ("--auto-aof-rewrite-percentage", "0")
        private = PrivateRedis(Path(folder), binary, 3 * 2**30, extra_args=quiet)
        try:
            store = Store(private.ensure())
            facts = await store.open(10)
            log = Log(store, WRITTEN, 30, 30)
            rows = await measure(Measured(store, log, Path(folder)))
            await log.close()
            await store.close()
        finally:
            private.stop()
    return [f"{facts.kind} {'.'.join(map(str, facts.version))}", "", *rows]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Measure bytes for each event and each stream.")
    parser.add_argument("--redis-server", metavar="BINARY", help="another server than the embedded one")
    sys.stdout.write("\n".join(asyncio.run(run(parser.parse_args().redis_server))) + "\n")


def _size(size: int) -> str:
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} bytes"


def _count(number: float) -> str:
    """Two digits are honest: allocators round, and names and types differ."""
    exponent = len(str(int(number))) - 2
    rounded = round(number / 10**exponent) * 10**exponent
    return f"{rounded / 1e6:g} million" if rounded >= 1e6 else f"{rounded:,}"


if __name__ == "__main__":
    main()
