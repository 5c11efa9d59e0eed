"""The server's process and its log."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

__all__ = ["ServerProcess", "last_lines", "newest_within", "remedy", "rotate"]

LOG_ROTATE_BYTES = 10 * 1024 * 1024
LAST_LINES = 20
LAST_LINES_BYTES = 8192


class ServerProcess(subprocess.Popen[bytes]):
    """A child that is meant to outlive us.

    Args:
        arguments: the binary, and what it is given.
        directory: its working directory.
        log_path: also gets what it says before it has opened its log.
        lock_fd: handed down, so that the lock on it is held as long as the process lives.

    Raises: OSError: it can't be executed.
    """

    def __init__(self, arguments: Sequence[str], directory: Path, log_path: Path, lock_fd: int) -> None:
        with log_path.open("ab") as log:
            super().__init__(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock_fd,),
                cwd=directory,
                # A locale that is not installed would keep Redis 7.2 and later from starting.
                env={**os.environ, "LC_ALL": "C"},
                # Ctrl-C goes to the whole process group: it would end the server before the site has drained.
                start_new_session=True,
                # Python ignores SIGXFSZ; with its default back, a file-size limit would kill the server instead of
                # failing its write.
                restore_signals=False,
                umask=0o077,
            )

    def __del__(self) -> None:
        """Say nothing: Popen would warn that the process still runs, and that is what it is for."""


def rotate(log_path: Path) -> int:
    """Set an overgrown log aside; return where the next line will be."""
    try:
        size = log_path.stat().st_size
    except FileNotFoundError:
        return 0
    if size < LOG_ROTATE_BYTES:
        return size
    log_path.replace(log_path.with_name(f"{log_path.name}.1"))
    return 0


def last_lines(log_path: Path, start: int) -> list[str]:
    """The log's last lines, none from before `start`."""
    try:
        with log_path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(min(start, size), size - LAST_LINES_BYTES))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-LAST_LINES:]


def newest_within(lines: Sequence[str], limit_bytes: int) -> Sequence[str]:
    """The newest of the lines that fit when they are written as JSON; the last one always."""
    first = 0
    while first < len(lines) - 1 and len(json.dumps(lines[first:])) > limit_bytes:
        first += 1
    return lines[first:]


def remedy(lines: Sequence[str], directory: Path, binary: Path) -> str:
    """What to do about a server that refuses its data, by the last lines of its log; empty when they say nothing of it.

    Args:
        directory: where its data are.
        binary: the server's own file, which is the repair tool too.
    """
    text = "\n".join(lines)
    base = re.search(r"(?:RDB base file|Checking RDB file|Wrong RDB checksum.*?file) (\S+\.rdb)", text)
    if "Can't handle RDB format version" in text:
        return (
            f"The data in {directory} were written by another server, or a newer one: name the one that wrote them in "
            "STREAMSITE_REDIS_SERVER, or give another data directory."
        )
    if base is not None:
        return (
            f"{directory / 'appendonlydir' / base[1]} is damaged, and no tool repairs a base file: put back a copy of "
            f"{directory} from a backup."
        )
    if re.search(r"check-aof|Bad file format reading the append", text) is None:
        return ""
    named = re.search(r"append only file\s+([^\s:]+\.aof)", text)
    folder = directory / "appendonlydir" if named is not None else directory
    path = folder / (named[1] if named is not None else "appendonly.aof")
    return (
        f"{path} is damaged: copy {directory} somewhere safe, run `redis-check-aof --fix {path}`, which cuts the file off "
        f"at the damage, and start again. (Where there is no redis-check-aof, {binary} is one when it is called by that "
        f"name: `ln -s {binary} redis-check-aof`.)"
    )
