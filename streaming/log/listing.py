"""What streams there are: names in order from all buckets, and their states."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import TYPE_CHECKING

from streaming import failpoints
from streaming.keys import BUCKETS, StreamKeys, names_key
from streaming.log import scripts
from streaming.log.outcome import Listed
from streaming.log.state import StreamState

if TYPE_CHECKING:
    from streaming.log.log import Log

__all__ = ["list_names", "list_streams", "states_of"]


async def list_streams(log: Log, prefix: str, after: str, limit: int) -> Listed:
    """Streams in order of their names.

    Args:
        after: begin behind this name; limit: look at this many names at most, some of which may be gone.

    Raises: StoreError.
    """
    names = await list_names(log, prefix, after, limit)
    states = await states_of(log, names)
    alive = [(name, state) for name, state in zip(names, states, strict=True) if state is not None]
    return Listed(alive, names[-1] if len(names) == limit else None)


async def list_names(log: Log, prefix: str, after: str, limit: int) -> list[str]:
    """Names of streams in order, expired ones among them.

    Each bucket is asked for its share, and for more only when its share is used up: a page costs some round trips and
    about twice its own size, not 256 times.

    Args:
        after: begin behind this name.
        limit: at most this many, > 0.

    Raises: StoreError.
    """
    share = min(limit, 4 + 2 * limit // BUCKETS)
    begin = f"({after}" if after and after >= prefix else f"[{prefix}"
    end = f"[{prefix}\U0010ffff" if prefix else "+"
    starts: dict[int, str | bytes] = dict.fromkeys(range(BUCKETS), begin)
    waiting: list[tuple[bytes, int]] = []
    unread = dict.fromkeys(range(BUCKETS), 0)
    found: list[str] = []
    while len(found) < limit:
        empty = [bucket for bucket in starts if not unread[bucket]]
        asked = [
            (bucket, ("ZRANGEBYLEX", names_key(bucket), starts[bucket], end, "LIMIT", 0, share)) for bucket in empty
        ]
        for bucket, names in zip(empty, await log.ask(asked, "listing streams"), strict=True):
            for name in names:
                heapq.heappush(waiting, (name, bucket))
            unread[bucket] = len(names)
            if len(names) < share:
                del starts[bucket]  # there is no more behind these
            else:
                starts[bucket] = b"(" + names[-1]
        # The smallest name that waits is the next one, as long as every bucket that has more is represented.
        while waiting and len(found) < limit:
            name, bucket = heapq.heappop(waiting)
            found.append(name.decode())
            unread[bucket] -= 1
            if not unread[bucket] and bucket in starts:
                break
        if not waiting and not starts:
            break
    return found


async def states_of(log: Log, names: Sequence[str]) -> list[StreamState | None]:
    """States of many streams; None: there is no such stream now.

    Raises: StoreError.
    """
    shift = failpoints.value("redis_time_shift_ms")
    asked = []
    for name in names:
        keys = StreamKeys.of(name)
        command = scripts.READ.command((keys.state, keys.entries, keys.forks), (shift, "$", 0, "", 0))
        asked.append((keys.bucket, command))
    replies = await log.ask(asked, "looking at streams", scripts.READ)
    return [StreamState.from_reply(reply[1]) if reply[0] == b"ok" else None for reply in replies]
