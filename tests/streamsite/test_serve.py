"""`manage.py serve` as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from streaming.private_redis import PrivateRedis
from tests.support.deadlines import bound, eventually

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


class Serve:
    """One process, its standard output line by line."""

    def __init__(self, data_dir: Path, *options: str, **environ: str) -> None:
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSITE_")}
        self.process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", *options],
            cwd=ROOT,
            env=own
            | {
                "DJANGO_SETTINGS_MODULE": "tests.streamsite.views_settings",
                "PYTHONUNBUFFERED": "1",
                "STREAMSITE_DATA_DIR": str(data_dir),
                "STREAMSITE_ENV": "development",
                "STREAMSITE_PORT": "0",
                "STREAMSITE_DRAIN_S": "0",
                "STREAMSITE_GRACE_S": "7",
                "STREAMSITE_WORKERS": "1",
            }
            | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self.readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _read(pipe: object, take: Callable[[str], object]) -> None:
        for line in pipe:  # type: ignore[attr-defined]
            take(line.rstrip("\n"))

    def announced(self) -> list[str]:
        """What it says once it serves."""
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(self.lines.get(timeout=bound(5)))
        return lines

    def output(self) -> list[str]:
        """What it has said that nobody took yet."""
        return list(iter(lambda: self.lines.get_nowait() if self.lines.qsize() else None, None))

    def url(self) -> str:
        """Where it serves."""
        return self.announced()[0].rpartition(" ")[2].rstrip("/")

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait(bound(10))
        for reader in self.readers:
            reader.join(bound(1))
        return code

    def end(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with its tables."""
    directory = tmp_path_factory.mktemp("migrated")
    _migrate(directory)
    return directory


def _migrate(directory: Path) -> None:
    subprocess.run(
        [sys.executable, "manage.py", "migrate", "--verbosity", "0"],
        cwd=ROOT,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "streamsite.settings", "STREAMSITE_DATA_DIR": str(directory)},
        check=True,
        timeout=bound(30),
    )


@pytest.fixture
def serve(migrated: Path) -> Iterator[Callable[..., Serve]]:
    """Start the command; everything is ended with the test."""
    begun: list[Serve] = []

    def start(*options: str, **environ: str) -> Serve:
        begun.append(Serve(migrated, *options, **environ))
        return begun[-1]

    yield start
    for one in begun:
        one.end()
    PrivateRedis(migrated).stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_live_streams_and_redis_with_exit_code_0(
    serve: Callable[..., Serve], migrated: Path, number: signal.Signals
) -> None:
    """Ctrl-C and a service manager's stop are the ordinary end: nothing that it started is left."""
    site = serve()
    with httpx.stream("GET", f"{site.url()}/v1/live", timeout=bound(2)) as response:
        parts = response.iter_bytes()
        assert next(parts) == b"first"
        assert PrivateRedis(migrated).pid is not None
        site.process.send_signal(number)
        with pytest.raises((StopIteration, httpx.HTTPError)):
            next(parts)
    assert site.wait() == 0
    assert PrivateRedis(migrated).pid is None


def test_crash_leaves_redis_and_next_start_finds_it(serve: Callable[..., Serve], migrated: Path) -> None:
    """The embedded server outlives a crash of the site; the next one uses it and stops it."""
    site = serve()
    site.url()
    pid = PrivateRedis(migrated).pid
    assert pid is not None
    site.process.kill()
    site.wait()
    site = serve()
    site.url()
    assert PrivateRedis(migrated).pid == pid
    site.process.terminate()
    assert site.wait() == 0
    assert PrivateRedis(migrated).pid is None


def test_second_start_takes_less_than_three_seconds(serve: Callable[..., Serve], migrated: Path) -> None:
    """With what the first one has prepared, both lines of `make run` together."""
    first = serve()
    first.announced()
    first.process.send_signal(signal.SIGINT)
    assert first.wait() == 0
    began_mono = time.monotonic()
    _migrate(migrated)
    serve().announced()
    assert time.monotonic() - began_mono < bound(3)


def test_development_says_loudly_that_it_is_open(serve: Callable[..., Serve]) -> None:
    """Nobody takes it for a closed site."""
    text = "\n".join(serve().announced())
    assert "OPEN WITHOUT KEYS" in text
    assert "/admin/" in text
    assert "/v1/stream/<name>" in text
    assert "/streams/\n" in text
    assert "embedded" in text


def test_production_says_that_it_is_closed(serve: Callable[..., Serve]) -> None:
    """Nobody waits for a stream that can't be read."""
    text = "\n".join(serve(STREAMSITE_ENV="production", STREAMSITE_BIND="0.0.0.0").announced())
    assert "production: closed" in text


def test_failure_in_stream_breaks_connection_and_spares_server(serve: Callable[..., Serve]) -> None:
    """D2: stock daphne leaves the client waiting and its sweeper dead; here the client sees a broken answer."""
    site = serve()
    url = site.url()
    with (
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
        httpx.stream("GET", f"{url}/v1/breaks", timeout=bound(5)) as response,
    ):
        response.read()
    with (
        pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)),
        httpx.stream("GET", f"{url}/v1/breaks", timeout=bound(5)) as response,
    ):
        response.read()  # a dead sweeper would leave this one waiting
    assert httpx.get(f"{url}/v1/echo/a", timeout=bound(2)).status_code == 200


def test_second_signal_hurries(serve: Callable[..., Serve]) -> None:
    """Who presses Ctrl-C twice does not wait for a request that hangs."""
    site = serve()
    url = site.url()
    with socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0)) as client:
        client.sendall(b"GET /v1/wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        # Requests are taken in the order of their connections: once this is answered, the other one waits in its view.
        assert httpx.get(f"{url}/v1/echo/a", timeout=bound(2)).status_code == 200
        site.process.terminate()
        eventually(lambda: _is_refused(url), 2, "it takes no more connections")
        site.process.terminate()
        assert site.wait() == 0
    assert any('"hurried":true' in line for line in site.errors)


def _is_refused(url: str) -> bool:
    try:
        httpx.get(f"{url}/v1/echo/a", timeout=bound(1))
    except httpx.ConnectError:
        return True
    return False


def test_second_serve_on_same_data_is_refused_and_spares_first(serve: Callable[..., Serve]) -> None:
    """At its end it would stop the embedded server under the first."""
    url = serve().url()
    second = serve()
    assert second.wait() == 1
    assert any("another serve uses" in line for line in second.errors)
    assert httpx.get(f"{url}/v1/echo/a", timeout=bound(2)).status_code == 200


def test_taken_port_is_one_line_and_exit_code_1(serve: Callable[..., Serve], migrated: Path) -> None:
    """And the embedded server, which was started before, does not stay behind."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site = serve("--port", str(taken.getsockname()[1]))
        assert site.wait() == 1
    assert any("can't listen on 127.0.0.1" in line for line in site.errors)
    assert PrivateRedis(migrated).pid is None


def test_unmigrated_tables_are_refused_with_the_line_to_type(serve: Callable[..., Serve], tmp_path: Path) -> None:
    """A page of the admin that fails at some later click is worse."""
    site = serve("--data-dir", str(tmp_path / "new"))
    assert site.wait() == 1
    assert any("manage.py migrate" in line for line in site.errors)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--bind", "0.0.0.0"], "loopback only"),
        (["--port", "70000"], "STREAMSITE_PORT='70000'"),
        (["--redis-url", "http://host"], "STREAMSITE_REDIS_URL=(not shown)"),
        (["--colour", "green"], "unrecognized arguments: --colour green"),
    ],
)
def test_wrong_option_is_exit_code_2(serve: Callable[..., Serve], options: list[str], text: str) -> None:
    """Scripts tell a mistake from a failure."""
    site = serve(*options)
    assert site.wait() == 2
    assert any(text in line for line in site.errors)


def test_redis_that_is_not_there_is_one_line_and_exit_code_1(serve: Callable[..., Serve]) -> None:
    """A given Redis is never replaced by an embedded one in silence."""
    site = serve("--redis-url", "unix:///nowhere/redis.sock")
    assert site.wait() == 1
    assert any("can't be reached" in line for line in site.errors)


def test_help_shows_examples(serve: Callable[..., Serve]) -> None:
    """Every command's --help has something to copy."""
    site = serve("--help")
    assert site.wait() == 0
    text = "\n".join(site.output())
    assert "examples:" in text
    assert "STREAMSITE_REDIS_URL" in text


def test_plain_daphne_serves_and_survives_its_end(migrated: Path) -> None:
    """`daphne streamsite.asgi:application` needs nothing of ours."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "daphne", "-p", str(port), "streamsite.asgi:application"],
        cwd=ROOT,
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "tests.streamsite.views_settings",
            "STREAMSITE_DATA_DIR": str(migrated),
            "STREAMSITE_ENV": "development",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/v1/echo/a", timeout=bound(1)).status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(answers, 5, "daphne answers")
    finally:
        process.terminate()
        process.wait(bound(5))
