"""The child's log: its last lines, its size, and what to do about what it says."""

from __future__ import annotations

import json
from pathlib import Path

from streaming.private_redis import process
from streaming.private_redis.process import last_lines, newest_within, remedy, rotate


def test_last_lines_none_from_before_this_start(tmp_path: Path) -> None:
    """An error of last week is not shown as the reason of today."""
    log = tmp_path / "redis.log"
    log.write_text("old\n")
    start = log.stat().st_size
    log.write_text("old\nnew 1\n\nnew 2\n")
    assert last_lines(log, start) == ["new 1", "new 2"]


def test_long_log_only_its_last_lines(tmp_path: Path) -> None:
    """A long log is not read whole."""
    log = tmp_path / "redis.log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert last_lines(log, 0)[-1] == "line 99999"
    assert len(last_lines(log, 0)) == process.LAST_LINES


def test_no_log_no_lines(tmp_path: Path) -> None:
    """A server that could not even open its log has no lines."""
    assert last_lines(tmp_path / "redis.log", 0) == []


def test_lines_that_are_too_many_lose_the_oldest() -> None:
    """The reason stands at the end; it is there even if it alone is too long."""
    lines = [f'line {number} "quoted"' for number in range(100)]
    kept = newest_within(lines, 200)
    assert kept == lines[-len(kept) :]
    assert 150 < len(json.dumps(kept)) <= 200
    assert newest_within([*lines, "x" * 500], 200) == ["x" * 500]
    assert newest_within(lines[:3], 200) == lines[:3]
    assert newest_within([], 200) == []


def test_overgrown_log_is_set_aside(tmp_path: Path) -> None:
    """The log of a server that is started for years takes bounded space."""
    log = tmp_path / "redis.log"
    log.write_bytes(b"x" * process.LOG_ROTATE_BYTES)
    assert rotate(log) == 0
    assert not log.exists()
    assert (tmp_path / "redis.log.1").stat().st_size == process.LOG_ROTATE_BYTES


def test_small_log_goes_on(tmp_path: Path) -> None:
    """A log of ordinary size is appended to."""
    log = tmp_path / "redis.log"
    assert rotate(log) == 0
    log.write_bytes(b"line\n")
    assert rotate(log) == 5


def test_other_trouble_has_no_remedy(tmp_path: Path) -> None:
    """Nobody is told to repair a file when a setting was wrong."""
    assert remedy(["*** FATAL CONFIG FILE ERROR ***", "Bad directive"], tmp_path, Path("redis-server")) == ""


def test_data_of_another_server_remedy_is_that_server(tmp_path: Path) -> None:
    """Whole data are not called damaged."""
    lines = [
        "# Can't handle RDB format version 12",
        "# Error reading the RDB base file appendonly.aof.2.base.rdb, AOF loading aborted",
    ]
    text = remedy(lines, tmp_path, Path("redis-server"))
    assert "STREAMSITE_REDIS_SERVER" in text
    assert "damaged" not in text
