"""Load, by wrk, and what it says."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .machine import BenchError, client_core, pinned

__all__ = ["Load", "Result", "parse", "run"]

_SCRIPTS = Path(__file__).parent / "scripts"
_UNITS_S = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}
_TIMEOUT_S = 10
"""Of one answer; wrk counts what takes longer."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What wrk is to send.

    Args:
        path: of each request.
        connections: that are kept busy, one request at a time each.
        script: of `bench/scripts`; without one it sends GET.
    """

    path: str
    connections: int = 16
    script: str | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came back."""

    requests: int
    requests_per_s: float
    median_s: float
    failed: int
    """Answers that were no success, and connections that broke."""


def run(load: Load, url: str, seconds: float) -> Result:
    """Load a server from the client's core.

    Raises: BenchError: wrk failed, or a request did: a server that refuses is fast and proves nothing.
    """
    command = [
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(load.connections),
        "--duration",
        f"{max(1, round(seconds))}s",
    ]
    command += ["--timeout", f"{_TIMEOUT_S}s", "--latency"]
    if load.script is not None:
        command += ["--script", str(_SCRIPTS / load.script)]
    done = subprocess.run(
        pinned(client_core(), [*command, url + load.path]),
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"wrk failed:\n{done.stdout}{done.stderr}")
    result = parse(done.stdout)
    if result.failed:
        raise BenchError(f"{result.failed} requests of {load.path} failed:\n{done.stdout}")
    return result


def parse(text: str) -> Result:
    """Read what wrk printed.

    Raises: BenchError: it is not that.
    """
    rate = re.search(r"^Requests/sec:\s+([0-9.]+)$", text, re.MULTILINE)
    median = re.search(r"^\s+50%\s+([0-9.]+)(us|ms|s|m)$", text, re.MULTILINE)
    count = re.search(r"^\s+([0-9]+) requests in ", text, re.MULTILINE)
    if rate is None or median is None or count is None:
        raise BenchError(f"this is not what wrk prints:\n{text}")
    refused = re.search(r"^\s+Non-2xx or 3xx responses: ([0-9]+)$", text, re.MULTILINE)
    broken = re.search(r"^\s+Socket errors: (.*)$", text, re.MULTILINE)
    return Result(
        requests=int(count[1]),
        requests_per_s=float(rate[1]),
        median_s=float(median[1]) * _UNITS_S[median[2]],
        failed=(int(refused[1]) if refused else 0)
        + (sum(int(number) for number in re.findall("[0-9]+", broken[1])) if broken else 0),
    )
