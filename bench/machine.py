"""The machine: which core is whose, and a description without which no figure means anything."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

__all__ = ["PROJECT_DIR", "BenchError", "client_core", "describe", "pinned", "server_core"]

PROJECT_DIR = Path(__file__).resolve().parent.parent

_PACKAGES = ("daphne", "twisted", "uvicorn", "uvloop", "httptools", "django")


class BenchError(Exception):
    """Nothing can be measured, or what was measured is not what it should be; the text says why."""


def server_core() -> int:
    """Where every contender runs, with all of its processes and threads."""
    return _cores()[0]


def client_core() -> int:
    """Where the load comes from."""
    return _cores()[1]


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, kept on one core; what it starts inherits that."""
    return ["taskset", "--cpu-list", str(core), *command]


def describe() -> dict[str, str]:
    """What the figures depend on."""
    return {
        "processor": f"{_processor()}, {len(_cores())} cores",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "node": _output("node", "--version").removeprefix("v"),
        "wrk": _first_line("wrk", "--version"),
        "commit": _output("git", "describe", "--always", "--dirty"),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _cores() -> list[int]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("two cores are needed: one for the servers, one for the load")
    return cores


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "none"
    done = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).strip()


def _first_line(*command: str) -> str:
    words = _output(*command).partition("\n")[0].split()
    return words[1] if len(words) > 1 else "none"  # wrk 4.1.0-… [epoll] Copyright …
