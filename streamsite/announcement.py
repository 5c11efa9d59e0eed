"""What `serve` says when it is ready: the addresses, the Redis, the promise and the mode, in words that need no manual."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streaming.server_facts import ServerFacts
from streamsite.config import Config

if TYPE_CHECKING:
    from streamsite.server.tls import Pair

__all__ = ["Embedded", "announcement"]

_MIB = 1024 * 1024


class Embedded(NamedTuple):
    """The embedded server.

    Args:
        pid: its process; None when it has just died.
        log_path: where it logs.
    """

    pid: int | None
    log_path: Path


def announcement(
    config: Config, port: int, facts: ServerFacts, embedded: Embedded | None, tls: Pair | None = None
) -> list[str]:
    """The lines, the address first."""
    host = f"[{config.bind}]" if ":" in config.bind else config.bind
    site = f"{config.scheme}://{host}:{port}"
    lines = [
        f"streamsite serves at {site}/",
        f"  admin    {site}/admin/",
        f"  streams  {site}/v1/stream/<name>, to look at: {site}/streams/",
        f"  redis    {_describe_server(facts, embedded)}",
        f"  appends  {_describe_durability(config.durability, facts)}",
    ]
    if tls is not None:
        lines.append(f"  tls      {_describe_certificate(tls)}")
    if config.metrics_bind is not None:
        lines.append(f"  metrics  http://{config.metrics_bind}/metrics")
    elif config.is_development:
        lines.append(f"  metrics  {site}/metrics")
    if config.is_development:
        lines.append(
            "  mode     DEVELOPMENT: OPEN WITHOUT KEYS. Whoever reaches this port may read and write everything."
        )
    else:
        lines.append("  mode     production: closed. Streams answer 403 until something is opened.")
    return lines


def _describe_server(facts: ServerFacts, embedded: Embedded | None) -> str:
    name = f"{facts.kind} {'.'.join(map(str, facts.version))}"
    limit = f"at most {facts.max_bytes // _MIB} MiB" if facts.max_bytes else "no memory limit of its own"
    if embedded is None:
        return f"{name}, given by its URL; {limit}"
    return f"{name}, embedded (process {embedded.pid}); {limit}; it logs to {embedded.log_path}"


def _describe_certificate(tls: Pair) -> str:
    names = tls.names
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "no name"
    has_ended = " AND HAS EXPIRED" if tls.expires_at < datetime.now(UTC) else ""
    return f"for {shown}; the certificate ends on {tls.expires_at:%Y-%m-%d}{has_ended}"


def _describe_durability(durability: str, facts: ServerFacts) -> str:
    """What the default acknowledgement survives here."""
    if facts.appends_fsync or "fsynced" in durability:
        survives = "it is on disk; they survive a power cut"
    elif facts.aof_enabled:
        survives = (
            "Redis has written it; they survive a crash of the site; "
            "a crash of Redis or a power cut may take the last two seconds"
        )
    else:
        survives = "Redis has it in memory, WITHOUT an append-only file: a crash of Redis loses what no snapshot holds"
    return f"are acknowledged ({durability}) when {survives}"
