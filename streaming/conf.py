"""The settings of the data path, as `STREAMING = {...}` in Django's settings gives them.

The app reads no environment: a site turns its own configuration into this dictionary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streaming.durability import Durability
from streaming.retention import Retention

__all__ = ["StreamingSettings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSettings:
    """Every setting with its default; the keys of `STREAMING` are the names in capitals.

    Args:
        redis_url: of the log's Redis; None = a private server below `data_dir`.
        data_dir: where the private server keeps its data.
        redis_server: the private server's binary; None = the one that comes with the installation.
        redis_maxmemory: of the private server, bytes; None = 40 % of the machine's or cgroup's memory.
        open: whether requests need no key. Nothing is served otherwise.
        cors_origins: that browsers' pages may read from; `*` = all.
        durability: of an append that asks for nothing.
        retention: of a stream that is created without.
        max_event_bytes: of one event's data. max_body_bytes: of one request. max_append_events: in one request.
        page_bytes: of data in one page, from Redis and to a client.
        window_bytes: of recent events that a feed keeps.
        heartbeat_s: between signs of life to a reader that gets nothing else.
        sse_retry_ms: told to EventSource, with up to half of it added by chance.
        long_poll_s: longest wait of a long-poll.
        sse_max_s: life of one live connection; 0 = no end.
        append_deadline_s, read_deadline_s: for one operation on the log.
        head_check_s: between looks at followed streams whose pushes may have been lost.
        max_tail: largest `tail=N`.
    """

    redis_url: str | None = None
    data_dir: Path = Path("var")
    redis_server: str | None = None
    redis_maxmemory: int | None = None
    open: bool = False
    cors_origins: tuple[str, ...] = ()
    durability: Durability = field(default=Durability())
    retention: Retention = field(default=Retention())
    max_event_bytes: int = 1024 * 1024
    max_body_bytes: int = 8 * 1024 * 1024
    max_append_events: int = 10_000
    page_bytes: int = 1024 * 1024
    window_bytes: int = 1024 * 1024
    heartbeat_s: float = 15.0
    sse_retry_ms: int = 2000
    long_poll_s: float = 30.0
    sse_max_s: float = 0.0
    append_deadline_s: float = 5.0
    read_deadline_s: float = 5.0
    head_check_s: float = 5.0
    max_tail: int = 10_000

    @classmethod
    def from_django(cls, given: Mapping[str, Any]) -> StreamingSettings:
        """Read `STREAMING`.

        Raises: ValueError: names the key, the value and what would be right.
        """
        fields = {spec.name.upper(): spec for spec in dataclasses.fields(cls)}
        for key in given:
            if key not in fields:
                raise ValueError(f"STREAMING[{key!r}] is not a setting; there are {', '.join(sorted(fields))}")
        values = {key.lower(): value for key, value in given.items()}
        for name, parse in (("durability", Durability.parse), ("retention", Retention.parse)):
            if isinstance(values.get(name), str):
                try:
                    values[name] = parse(values[name])
                except ValueError as error:
                    raise ValueError(f"STREAMING[{name.upper()!r}]: {error}") from error
        if "data_dir" in values:
            values["data_dir"] = Path(values["data_dir"])
        if "cors_origins" in values:
            values["cors_origins"] = tuple(values["cors_origins"])
        settings = cls(**values)
        settings._check()
        return settings

    def _check(self) -> None:
        positive = (
            "max_event_bytes max_body_bytes max_append_events page_bytes window_bytes heartbeat_s sse_retry_ms long_poll_s "
            "append_deadline_s read_deadline_s head_check_s max_tail"
        )
        for name in positive.split():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise ValueError(f"STREAMING[{name.upper()!r}] must be a number above 0, got {value!r}")
        if self.sse_max_s < 0:
            raise ValueError(f"STREAMING['SSE_MAX_S'] must be 0 (no end) or above, got {self.sse_max_s!r}")
        if self.redis_url is not None and not self.redis_url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError(
                f"STREAMING['REDIS_URL'] must begin with redis://, rediss:// or unix://, got {self.redis_url[:9]!r}…"
            )
