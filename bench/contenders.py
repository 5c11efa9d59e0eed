"""Who is measured: real processes, started by the command that a person would type, on a core of their own."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from . import processes
from .machine import PROJECT_DIR, BenchError, pinned, server_core

__all__ = [
    "PEERS_DIR",
    "Contender",
    "Running",
    "on_daphne",
    "on_uvicorn",
    "ours",
    "reference",
    "site",
]

PEERS_DIR = Path(__file__).parent
_START_S = 30.0
_STOP_S = 40.0
"""Longer than the grace period of `serve`."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """One server and what it serves.

    Args:
        name: in the table.
        command: to start it; {port} and {directory}, an empty one, are filled in.
        environment: beside that of this process, less our settings.
        before: commands to run to their end first.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    before: tuple[tuple[str, ...], ...] = ()


def ours(application: str, name: str) -> Contender:
    """Our server with an application of `bench.apps`."""
    return Contender(name=name, command=(sys.executable, "-m", "bench.apps.serve", "{port}", application))


def on_daphne(application: str, name: str) -> Contender:
    """Stock daphne, without its access log."""
    command = (sys.executable, "-m", "daphne", "-v", "0", "-b", "127.0.0.1", "-p", "{port}", application)
    return _with_site(name, command) if application.startswith("streamsite.") else Contender(name=name, command=command)


def on_uvicorn(application: str, name: str) -> Contender:
    """The fastest uvicorn: uvloop, httptools, no access log."""
    options = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
    command = (sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", *options, application)
    return _with_site(name, command) if application.startswith("streamsite.") else Contender(name=name, command=command)


def site(name: str, workers: int = 1) -> Contender:
    """The whole site as an operator starts it, with its embedded server and data of its own."""
    serve = (sys.executable, "manage.py", "serve", "--port", "{port}", "--workers", str(workers))
    return _with_site(name, serve)


def reference(name: str, *, in_files: bool) -> Contender:
    """The reference Durable Streams server, in memory or with its file store."""
    command = ("node", str(PEERS_DIR / "scripts" / "reference.mjs"), "{port}")
    return Contender(name=name, command=(*command, "{directory}") if in_files else command)


def _with_site(name: str, command: tuple[str, ...]) -> Contender:
    """What needs the site's settings, tables and a directory."""
    return Contender(
        name=name,
        command=command,
        environment={"STREAMSITE_ENV": "development", "STREAMSITE_DATA_DIR": "{directory}", "STREAMSITE_DRAIN_S": "0"},
        before=((sys.executable, "manage.py", "migrate", "--verbosity", "0"),),
    )


class Running:
    """A contender as a process, for as long as its block; it has answered once when the block begins.

    Args:
        contender: to start.
    """

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.port = _free_port()
        self._folder = tempfile.TemporaryDirectory(prefix="streamsite-bench-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        fill = {"port": str(self.port), "directory": str(Path(self._folder.name) / "data")}
        Path(fill["directory"]).mkdir()
        environment = {name: value for name, value in os.environ.items() if not _is_setting(name)}
        environment |= {name: value.format(**fill) for name, value in self.contender.environment.items()}
        for first in self.contender.before:
            subprocess.run(first, cwd=PROJECT_DIR, env=environment, check=True, timeout=_START_S)
        command = [word.format(**fill) for word in self.contender.command]
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                pinned(server_core(), command),
                cwd=PROJECT_DIR,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process = self._running
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        # Of its session: what it left behind, or all of it when it did not stop.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    def pids(self) -> list[int]:
        """The process, and all that it started but for the store: the supervisor, then the workers."""
        store = set(self._store_pids())
        return [pid for pid in processes.descendants(self._running.pid) if pid not in store]

    def cpu_s(self) -> float:
        """The time on the processor of all of it so far, the store included."""
        return processes.cpu_s({*self.pids(), *self._store_pids()})

    def ask(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> bytes:
        """One request on a connection of its own.

        Returns: the answer's body.
        Raises: BenchError: the answer is not a success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"Content-Type": content_type} if content_type else {})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if not 200 <= response.status < 300:
            raise BenchError(f"{self.contender.name}: {method} {path} got {response.status}\n{answer[:500]!r}")
        return answer

    def _store_pids(self) -> list[int]:
        """Of the embedded server, which works in its data directory; nobody else works there."""
        return processes.working_in(Path(self._folder.name))

    @property
    def _log_path(self) -> Path:
        return Path(self._folder.name) / "log"

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it runs inside the block"  # noqa: S101 - for mypy
        return self._process

    def _wait_until_it_answers(self) -> None:
        deadline_mono = time.monotonic() + _START_S
        while True:
            if self._running.poll() is not None or time.monotonic() > deadline_mono:
                log = self._log_path.read_text(errors="replace")[-2000:]
                raise BenchError(f"{self.contender.name} did not start:\n{log}")
            with contextlib.suppress(OSError, http.client.HTTPException, BenchError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                try:
                    connection.request("GET", "/")
                    connection.getresponse().read()  # whatever it says
                finally:
                    connection.close()
                return
            time.sleep(0.05)


def _is_setting(name: str) -> bool:
    """Whether an environment variable would change what is measured."""
    return name.startswith("STREAMSITE_") or name in {"DATABASE_URL", "DJANGO_SETTINGS_MODULE", "REDIS_URL"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
