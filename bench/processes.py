"""What the kernel knows of processes: their descendants, their time on the processor, their memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .machine import BenchError

__all__ = ["cpu_s", "descendants", "pss_bytes", "read_cpu_ticks", "read_pss", "working_in"]

_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """A process and all that it started and that still run, the oldest first."""
    found = [pid]
    for parent in found:
        for children in (_PROC / str(parent) / "task").glob("*/children"):
            with suppress(OSError):  # it has ended
                found += [int(child) for child in children.read_text(encoding="ascii").split()]
    return found


def working_in(directory: Path) -> list[int]:
    """All processes whose current directory is below this one: a daemon has left its family, but not its data."""
    found = []
    for entry in _PROC.iterdir():
        with suppress(OSError):  # it has ended, or is not ours
            if entry.name.isdigit() and (entry / "cwd").readlink().is_relative_to(directory):
                found.append(int(entry.name))
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """What the processes have used so far, in the kernel too."""
    ticks = sum(read_cpu_ticks((_PROC / str(pid) / "stat").read_text(encoding="utf-8")) for pid in pids)
    return ticks / os.sysconf("SC_CLK_TCK")


def read_cpu_ticks(text: str) -> int:
    """User and system time in a `stat` of proc(5); the name before them may hold anything."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def pss_bytes(pids: Iterable[int]) -> int:
    """The sum of PSS, in which a page that processes share is divided among them."""
    return sum(read_pss((_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii")) for pid in pids)


def read_pss(text: str) -> int:
    """The bytes that a `smaps_rollup` tells of.

    Raises: BenchError: it does not.
    """
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise BenchError("smaps_rollup has no line Pss:")
