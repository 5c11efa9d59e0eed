"""Cut the power of a Redis: kill it and take away what was never flushed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.preload import compile_preload
from tests.support.redis_server import RedisServer

__all__ = ["PowerCut", "cut_file", "cut_power", "preload_env"]

_SOURCE = Path(__file__).with_name("synced.c")


@dataclass(frozen=True)
class PowerCut:
    """What it did."""

    kept_bytes: int
    lost_bytes: int


def preload_env(directory: Path) -> Mapping[str, str]:
    """The environment with which a server notes what it has flushed."""
    return {"LD_PRELOAD": str(compile_preload(_SOURCE, directory))}


def cut_power(server: RedisServer) -> PowerCut:
    """Kill the server and cut its append-only file back to what the last successful flush covered.

    The server must have been started with `preload_env`. It does not run afterwards.
    """
    aof = server.aof_path
    server.kill()
    return cut_file(aof)


def cut_file(aof: Path) -> PowerCut:
    """Cut one append-only file, of a server that does not run, back to its last successful flush."""
    note = aof.with_name(f"{aof.name}.synced")
    written_bytes = aof.stat().st_size
    # A file that was never flushed has no note: nothing of it is sure.
    kept_bytes = min(int(note.read_text()), written_bytes) if note.exists() else 0
    os.truncate(aof, kept_bytes)
    return PowerCut(kept_bytes, written_bytes - kept_bytes)
