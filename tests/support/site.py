"""The real site as a process: started on a free port with data of its own, killed, restarted, asked, read.

    with Site(tmp_path) as site:
        ... site.url ...
        site.kill()
        site.start()

Leaving the block ends everything that the site started, its private Redis too, and shows the end of its log when the
block ended with an error.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.deadlines import bound, eventually
from tests.support.redis_server import free_port

__all__ = ["Metrics", "Site"]

ROOT = Path(__file__).resolve().parents[2]
_START_S = 10.0
_STOP_S = 10.0
_MARK = "SITE_UNDER_TEST"
"""An environment variable that tells whose child a process is, however it was started."""


class Metrics(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """All samples of one look at /metrics."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text format of Prometheus."""
        samples = cls()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples[sample.name, frozenset(sample.labels.items())] = sample.value
        return samples

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; 0 when there are none."""
        wanted = labels.items()
        return sum(value for (found, has), value in self.items() if found == name and wanted <= has)

    def has(self, name: str, **labels: str) -> bool:
        """Whether there is a sample with these labels at all."""
        wanted = labels.items()
        return any(found == name and wanted <= has for found, has in self)


class Site:
    """One site.

    Args:
        directory: of this test; the site's data and log go into it.
        redis_url: use this Redis instead of a private one.
        env: further environment: settings, failpoints, preloaded libraries.
        is_started: whether entering the block starts it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        redis_url: str | None = None,
        env: Mapping[str, str] | None = None,
        is_started: bool = True,
    ) -> None:
        self.data_dir = directory / "var"
        self.log_path = directory / "site.log"
        self.port = free_port()
        self.env = dict(env or {})
        self.redis_url = redis_url
        self._is_started = is_started
        self._process: subprocess.Popen[bytes] | None = None
        self._client = httpx.Client(base_url=self.url, timeout=bound(4), trust_env=False)

    # Life

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        shutil.copytree(_migrated_data_dir(), self.data_dir, dirs_exist_ok=True)
        if self._is_started:
            try:
                self.start()
            except BaseException:
                self._end_all()
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._end_all()
        self._client.close()
        if kind is not None:
            sys.stdout.write(f"--- end of the site's log ({self.log_path})\n{self.log_tail()}\n---\n")

    def start(self, *, env: Mapping[str, str] | None = None) -> None:
        """Start the process and wait until it is ready.

        Args:
            env: replaces the further environment, for this and later starts.

        Raises: AssertionError: it ended, or isn't ready in time; carries the end of its log.
        """
        self.spawn(env=env)
        eventually(
            lambda: self.is_ready() or self.exit_code() is not None, _START_S, f"the site is ready\n{self.log_tail()}"
        )
        assert self.exit_code() is None, f"serve ended with {self.exit_code()}\n{self.log_tail()}"

    def spawn(self, *, env: Mapping[str, str] | None = None) -> None:
        """Start the process and return at once."""
        assert self._process is None, "it runs already"
        if env is not None:
            self.env = dict(env)
        command = [sys.executable, "manage.py", "serve", "--port", str(self.port), "--data-dir", str(self.data_dir)]
        if self.redis_url:
            command += ["--redis-url", self.redis_url]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment({**self.env, _MARK: str(self.data_dir)}),
            )

    def kill(self) -> None:
        """SIGKILL to the site, supervisor and workers; a private Redis lives on, as after a crash."""
        if self._process is not None:
            self._process.kill()
            for pid in self.worker_pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(bound(_STOP_S))
            eventually(lambda: not self.worker_pids(), _STOP_S, "the workers have ended")
            self._process = None

    def terminate(self) -> int:
        """SIGTERM, and wait for the end.

        Returns: the exit code.
        """
        process = self._running
        process.terminate()
        code = process.wait(bound(_STOP_S))
        self._process = None
        return code

    def restart(self, *, env: Mapping[str, str] | None = None) -> None:
        """Kill and start on the same port."""
        self.kill()
        self.start(env=env)

    def wait(self, within_s: float = _STOP_S) -> int:
        """Wait until the process ends by itself.

        Returns: its exit code.
        """
        code = self._running.wait(bound(within_s))
        self._process = None
        return code

    # What is there

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    @property
    def pid(self) -> int:
        """Of the supervisor."""
        return self._running.pid

    def worker_pids(self) -> list[int]:
        """Of the processes that serve."""
        return [pid for pid in self._family() if b"worker" in _command_line(pid)]

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._running.poll()

    def is_ready(self) -> bool:
        """Whether /readyz says so now."""
        try:
            return self.get("/readyz").status_code == 200
        except httpx.HTTPError:
            return False

    def redis_pid(self) -> int:
        """Process id of the private Redis.

        Raises: AssertionError: there is none.
        """
        return eventually(self.find_redis_pid, 2, "the private Redis runs") or 0

    def find_redis_pid(self) -> int | None:
        """The same, None when none runs."""
        return next((pid for pid in self._family() if _process_name(pid).endswith("-server")), None)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """One request to the site."""
        return self._client.get(path, **options)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to the site."""
        return self._client.request(method, path, **options)

    def stream(self, path: str, **options: Any) -> contextlib.AbstractContextManager[httpx.Response]:
        """A GET whose body is read as it comes."""
        return self._client.stream("GET", path, **options)

    def metrics(self) -> Metrics:
        """What /metrics says now."""
        response = self.get("/metrics")
        assert response.status_code == 200, response.text
        return Metrics.parse(response.text)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines whose `event` is this, oldest first."""
        return [line for line in self.log_lines() if line.get("event") == event]

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """All lines of the log that are JSON objects."""
        with self.log_path.open(encoding="utf-8", errors="replace") as log:
            for text in log:
                with contextlib.suppress(ValueError):
                    line = json.loads(text)
                    if isinstance(line, dict):
                        yield line

    def log_tail(self, lines: int = 40) -> str:
        """The end of what the site printed."""
        if not self.log_path.exists():
            return "(nothing)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it does not run"
        return self._process

    def _family(self) -> list[int]:
        """All processes that this site started, whoever is their parent now."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and self._is_ours(entry)]

    def _is_ours(self, process: Path) -> bool:
        try:
            # Redis writes its title over its environment; it works in its data directory instead.
            cwd = (process / "cwd").readlink()
            mark = f"{_MARK}={self.data_dir}".encode()
            return cwd.is_relative_to(self.data_dir) or mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def _end_all(self) -> None:
        """End the site, then what it left behind; a stopped process is ended too."""
        self.kill()
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self._family(), _STOP_S, "what the site started has ended")


def _environment(further: Mapping[str, str]) -> dict[str, str]:
    """The environment of a site under test: nothing of the developer's own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSITE_")}
    for name in ("REDIS_URL", "DATABASE_URL", "DJANGO_SETTINGS_MODULE"):
        own.pop(name, None)
    return {
        **own,
        "STREAMSITE_ENV": "development",
        "STREAMSITE_WORKERS": "1",
        "STREAMSITE_DRAIN_S": "0",
        "PYTHONUNBUFFERED": "1",
        **further,
    }


@functools.cache
def _migrated_data_dir() -> Path:
    """A data directory with migrated tables, made once for the whole run and copied for each site."""
    directory = Path(tempfile.mkdtemp(prefix="streamsite-tests-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=_environment({"STREAMSITE_DATA_DIR": str(directory)}),
        capture_output=True,
        text=True,
        timeout=bound(30),
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


def _command_line(pid: int) -> list[bytes]:
    """The process's arguments; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def _process_name(pid: int) -> str:
    """The process's name; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
