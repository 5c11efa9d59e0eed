"""What is measured: each workload, its contenders, and what ours has to reach."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Self

from . import load, processes
from .connections import held
from .contenders import Contender, Running, on_daphne, on_uvicorn, ours, reference, site
from .machine import BenchError
from .measure import Figure, Series, Workload

__all__ = ["workloads"]

IDLE_CONNECTIONS = 2000
_WARM_UP_S = 2.0
_SETTLE_S = 2.0
"""For memory: what a start or a storm of connections leaves behind is collected by then."""
_OCTETS = "application/octet-stream"
_RAW, _STOCK, _LEAN, _SITE = (
    "bench.apps.raw:application",
    "bench.apps.stock:application",
    "bench.apps.lean:application",
    "streamsite.asgi:application",
)


class _Process:
    """A series with one process for all of its rounds."""

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._running = Running(contender)

    def __enter__(self) -> Self:
        self._running.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__()

    def _load(self, what: load.Load, seconds: float) -> tuple[load.Result, float]:
        """Load it; return what came back, and its time on the processor for each request."""
        before = self._running.cpu_s()
        result = load.run(what, self._running.url, seconds)
        return result, (self._running.cpu_s() - before) / max(1, result.requests)


class _Get(_Process):
    """Requests a second of one path.

    Args:
        contender: that answers.
        path: asked for.
        seconds: of each round.
        expected: what the answer has to contain.
    """

    def __init__(self, contender: Contender, path: str, seconds: float, expected: bytes) -> None:
        super().__init__(contender)
        self._what = load.Load(path=path)
        self._seconds = seconds
        self._expected = expected

    def warm_up(self) -> None:
        if self._expected not in self._running.ask("GET", self._what.path):
            raise BenchError(f"{self.name}: the answer to GET {self._what.path} is not the one that was asked for")
        self._load(self._what, _WARM_UP_S)

    def measure(self, number: int) -> Figure:  # noqa: ARG002 - every round is alike
        result, cpu_s = self._load(self._what, self._seconds)
        return Figure(value=result.requests_per_s, cpu_s=cpu_s)


class _Append(_Process):
    """Appends, to a new stream in each round, so that no contender carries the past rounds along."""

    def __init__(self, contender: Contender, connections: int, seconds: float) -> None:
        super().__init__(contender)
        self._connections = connections
        self._seconds = seconds

    def warm_up(self) -> None:
        self._append("warm-up", _WARM_UP_S)

    def measure(self, number: int) -> Figure:
        result, cpu_s = self._append(f"round-{number}", self._seconds)
        return Figure(value=result.requests_per_s, cpu_s=cpu_s)

    def _append(self, name: str, seconds: float) -> tuple[load.Result, float]:
        path = f"/v1/stream/{name}"
        self._running.ask("PUT", path, content_type=_OCTETS)
        result, cpu_s = self._load(load.Load(path=path, connections=self._connections, script="append.lua"), seconds)
        if len(self._running.ask("GET", f"{path}?offset=-1")) < 100:
            raise BenchError(f"{self.name}: nothing was appended")
        return result, cpu_s


class _AppendLatency(_Append):
    """The median time of an append, in milliseconds, when nobody else appends."""

    def measure(self, number: int) -> Figure:
        result, cpu_s = self._append(f"round-{number}", self._seconds)
        return Figure(value=result.median_s * 1000, cpu_s=cpu_s)


class _Fresh:
    """A series with new processes for each round: what memory a process has grown to depends on its past."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def warm_up(self) -> None:
        pass


class _Idle(_Fresh):
    """Memory of a connection that made one request and is kept, in KB."""

    def __init__(self, contender: Contender, path: str) -> None:
        super().__init__(contender.name)
        self._contender = contender
        self._path = path

    def measure(self, number: int) -> Figure:  # noqa: ARG002 - every round is alike
        with Running(self._contender) as running:
            with held(running.port, self._path, IDLE_CONNECTIONS // 10):
                pass  # the first connections make what all share
            time.sleep(_SETTLE_S)
            before = processes.pss_bytes(running.pids())
            with held(running.port, self._path, IDLE_CONNECTIONS):
                time.sleep(_SETTLE_S)
                after = processes.pss_bytes(running.pids())
        return Figure(value=(after - before) / IDLE_CONNECTIONS / 1000)


class _Rest(_Fresh):
    """Memory of all processes of the site but its store, in MB."""

    def measure(self, number: int) -> Figure:  # noqa: ARG002 - every round is alike
        return Figure(value=_at_rest(1))


class _Worker(_Fresh):
    """Memory of each further worker, in MB."""

    def measure(self, number: int) -> Figure:  # noqa: ARG002 - every round is alike
        return Figure(value=(_at_rest(3) - _at_rest(1)) / 2)


def _at_rest(workers: int) -> float:
    with Running(site("site", workers)) as running:
        deadline_mono = time.monotonic() + 30
        while len(running.pids()) < 1 + workers:
            if time.monotonic() > deadline_mono:
                raise BenchError(f"the site has not its {workers} workers")
            time.sleep(0.1)
        time.sleep(_SETTLE_S * workers)  # they start on one core
        return processes.pss_bytes(running.pids()) / 1e6


def workloads(seconds: float) -> Sequence[Workload]:
    """All of them, in the order of the table.

    Args:
        seconds: how long each figure of a rate is measured.
    """
    ours_site = "ours, whole site"

    def get(contender: Contender, path: str, expected: bytes) -> Callable[[], Series]:
        return lambda: _Get(contender, path, seconds, expected)

    def append(contender: Contender, connections: int) -> Callable[[], Series]:
        return lambda: _Append(contender, connections, seconds)

    def append_latency(contender: Contender) -> Callable[[], Series]:
        return lambda: _AppendLatency(contender, 1, seconds)

    django = (
        ours(_LEAN, "ours, lean handler"),
        on_daphne(_STOCK, "stock handler on daphne"),
        on_uvicorn(_STOCK, "stock handler on uvicorn"),
    )
    references = (
        reference("reference server, memory", in_files=False),
        reference("reference server, files", in_files=True),
    )
    return (
        Workload(
            key="raw",
            title="raw ASGI hello",
            unit="/s",
            series=[
                get(ours(_RAW, "ours"), "/", b"Hello"),
                get(on_daphne(_RAW, "daphne"), "/", b"Hello"),
                get(on_uvicorn(_RAW, "uvicorn"), "/", b"Hello"),
            ],
            at_least={"daphne": 8, "uvicorn": 1.3},
        ),
        Workload(
            key="django",
            title="Django hello",
            unit="/s",
            series=[get(contender, "/hello", b"Hello") for contender in django],
            at_least={"stock handler on daphne": 8, "stock handler on uvicorn": 6},
        ),
        Workload(
            key="stream",
            title="Django, stream of 10 events",
            unit="/s",
            series=[get(contender, "/events", b"id: 9") for contender in django],
            at_least={"stock handler on daphne": 4},
        ),
        Workload(
            key="append",
            title="append of 100 bytes",
            unit="/s",
            series=[append(contender, 16) for contender in (site(ours_site), *references)],
            at_least={"reference server, memory": 1, "reference server, files": 8},
        ),
        Workload(
            key="append-1",
            title="append of 100 bytes, 1 connection, median",
            unit="ms",
            series=[append_latency(contender) for contender in (site(ours_site), *references)],
            at_most=1.0,
        ),
        Workload(
            key="admin",
            title="admin's login page",
            unit="/s",
            series=[
                get(contender, "/admin/login/", b"csrfmiddlewaretoken")
                for contender in (site(ours_site), on_daphne(_SITE, "whole site on daphne"))
            ],
            at_least={"whole site on daphne": 1},
        ),
        Workload(
            key="idle",
            title="memory of an idle connection",
            unit="KB",
            series=[
                lambda: _Idle(site(ours_site), "/livez"),
                lambda: _Idle(on_daphne(_SITE, "whole site on daphne"), "/livez"),
                lambda: _Idle(on_uvicorn(_SITE, "whole site on uvicorn"), "/livez"),
            ],
            at_most=8,
        ),
        Workload(
            key="rest",
            title="memory at rest, supervisor and 1 worker",
            unit="MB",
            series=[lambda: _Rest(ours_site)],
            at_most=120,
        ),
        Workload(
            key="worker",
            title="memory of each further worker",
            unit="MB",
            series=[lambda: _Worker(ours_site)],
            at_most=60,
        ),
    )
