"""The private server with the real binaries: started, shared, found again, restarted, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import redis

from streaming.private_redis import PrivateRedis, PrivateRedisError, memory_limit_bytes, supervisor
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import REDIS_NAMES, redis_binary

ROOT = Path(__file__).resolve().parents[3]
LONG = "a-rather-long-directory-name-for-a-socket/" * 4
ENSURE = """
import sys
from pathlib import Path
from streaming.private_redis import PrivateRedis
server = PrivateRedis(Path(sys.argv[1]))
print(server.ensure(), server.pid, flush=True)
"""
Make = Callable[..., PrivateRedis]


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory whose socket fits; what still runs in it afterwards is stopped."""
    with tempfile.TemporaryDirectory(prefix="private-") as name:
        path = Path(name) / "var"
        yield path
        for directory in (path, path / LONG):
            PrivateRedis(directory).stop()


@pytest.fixture
def make(data_dir: Path) -> Make:
    """Make the object that a process of the site would have."""

    def make_one(**options: Any) -> PrivateRedis:
        return PrivateRedis(data_dir, **options)

    return make_one


def client(server: PrivateRedis) -> Any:
    """A client of a server; the caller closes it."""
    return redis.Redis.from_url(server.url, socket_timeout=bound(2), decode_responses=True)


def put(server: PrivateRedis, key: str) -> None:
    """Write something that must not be lost."""
    with closing(client(server)) as connection:
        connection.set(key, "kept")


def kept(server: PrivateRedis, key: str) -> bool:
    """Whether it is there."""
    with closing(client(server)) as connection:
        return bool(connection.get(key) == "kept")


def setting(server: PrivateRedis, name: str) -> str:
    """A setting of the running server."""
    with closing(client(server)) as connection:
        return str(connection.config_get(name)[name])


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not as a zombie either."""
    return not Path(f"/proc/{pid}").exists()


def run_ensure(data_dir: Path) -> subprocess.Popen[str]:
    """Another process that starts or finds the server, prints its URL and pid, and ends."""
    command = [sys.executable, "-W", "error", "-c", ENSURE, str(data_dir)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """What it printed; it must have ended well and warned of nothing."""
    out, err = process.communicate(timeout=bound(20))
    assert (process.returncode, err) == (0, "")
    return out.strip()


@asynccontextmanager
async def watching(*servers: PrivateRedis) -> AsyncIterator[None]:
    """Watch over servers; the watch itself must not have failed."""
    tasks = [asyncio.create_task(server.watch()) for server in servers]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, asyncio.CancelledError), result


async def soon(condition: Callable[[], bool], within_s: float, what: str) -> None:
    """Like `eventually`, without holding up the loop that the watch runs on."""
    await asyncio.to_thread(eventually, condition, within_s, what)


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[Any]:
    """The log records of one event."""
    return [record for record in caplog.records if record.name == "streamsite.redis" and record.message == name]


# start


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_each_binary_starts_keeps_data_and_stops(name: str, make: Make) -> None:
    """Every server that a setting may name does the whole round."""
    server = make(binary=str(redis_binary(name)), maxmemory_bytes=100_000_000)
    assert server.ensure() == f"unix://{server.socket_path}?db=0"
    put(server, "event")
    pid = server.pid
    assert pid is not None
    server.stop()
    assert is_gone(pid)
    assert server.pid is None
    assert not server.socket_path.exists()
    server.ensure()
    assert kept(server, "event")


def test_started_settings_lose_nothing(make: Make) -> None:
    """Append-only file on, nothing evicted, no port, memory bounded."""
    server = make()
    server.ensure()
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "save": "",
        "maxmemory": str(int(memory_limit_bytes() * 0.4)),
        "dir": str(server.log_path.parent / "redis"),
    }
    assert {name: setting(server, name) for name in expected} == expected
    assert "Ready to accept connections" in server.log_path.read_text()


def test_started_nobody_else_can_connect(make: Make) -> None:
    """Socket 0600 in a directory 0700, files of the data closed too, under any umask."""
    before = os.umask(0)
    try:
        server = make()
        server.ensure()
    finally:
        os.umask(before)
    assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.socket_path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.log_path.parent.stat().st_mode) == 0o700


def test_given_settings_reach_the_server(make: Make) -> None:
    """What the site is told, the server is told."""
    server = make(maxmemory_bytes=123_000_000, appendfsync="always", extra_args=("--maxclients", "77"))
    server.ensure()
    assert [setting(server, name) for name in ("maxmemory", "appendfsync", "maxclients")] == [
        "123000000",
        "always",
        "77",
    ]


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_odd_characters_in_the_path_work(name: str, data_dir: Path) -> None:
    """A data directory may have any name: the URL is quoted, and so are the server's arguments."""
    server = PrivateRedis(data_dir / "a b%41?c#d'e\"ü", binary=str(redis_binary(name)))
    server.ensure()
    put(server, "event")
    server.stop()
    server.ensure()
    try:
        assert kept(server, "event")
    finally:
        server.stop()


def test_long_path_works_by_a_socket_elsewhere(data_dir: Path) -> None:
    """A deep data directory works, another process finds it, and stop leaves nothing behind."""
    server = PrivateRedis(data_dir / LONG)
    server.ensure()
    put(server, "event")
    assert not server.socket_path.is_relative_to(data_dir)
    directory = server.socket_path.parent
    assert said(run_ensure(data_dir / LONG)) == f"{server.url} {server.pid}"
    server.stop()
    assert not directory.exists()
    server.ensure()
    assert kept(server, "event")


def test_own_session_interrupt_of_the_group_leaves_it(data_dir: Path) -> None:
    """Ctrl-C goes to everything in the terminal's foreground; the server must outlive the drain."""
    script = ENSURE + "import time; time.sleep(60)"
    command = [sys.executable, "-c", script, str(data_dir)]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as site:
        assert site.stdout is not None
        url, pid = site.stdout.readline().split()
        os.killpg(site.pid, signal.SIGINT)
        site.wait(bound(5))
    assert os.getsid(int(pid)) == int(pid)
    with closing(redis.Redis.from_url(url, socket_timeout=bound(2))) as connection:
        assert connection.ping()


def test_binary_that_is_no_server_error_names_it(make: Make) -> None:
    """A wrong binary is an error that says which."""
    with pytest.raises(PrivateRedisError, match=r"/bin/true is not a redis-server"):
        make(binary="/bin/true").ensure()


def test_refused_argument_error_has_the_servers_words(make: Make) -> None:
    """What the server says before it has a log is in the error too."""
    with pytest.raises(PrivateRedisError, match="no-such-option"):
        make(extra_args=("--no-such-option", "1")).ensure()


def test_older_server_on_newer_data_is_refused(make: Make) -> None:
    """Redis 6.2 would not look at the files of 7.0, and start empty."""
    server = make()
    server.ensure()
    server.stop()
    with pytest.raises(PrivateRedisError, match=r"version 6\.2"):
        make(binary=str(redis_binary("redis-6.2"))).ensure()


def test_newer_server_on_older_data_keeps_them(make: Make) -> None:
    """The other way is an upgrade."""
    server = make(binary=str(redis_binary("redis-6.2")))
    server.ensure()
    put(server, "event")
    server.stop()
    newer = make()
    newer.ensure()
    assert kept(newer, "event")


# find


def test_second_user_finds_the_first_ones(data_dir: Path, make: Make) -> None:
    """Whoever comes first starts it, all others share it, and it outlives its starter."""
    url, pid = said(run_ensure(data_dir)).rsplit(" ", 1)
    assert said(run_ensure(data_dir)) == f"{url} {pid}"
    server = make()
    assert server.ensure() == url
    assert server.pid == int(pid)


def test_many_at_once_start_one(data_dir: Path) -> None:
    """Processes that start at the same moment end up with one server."""
    processes = [run_ensure(data_dir) for _ in range(4)]
    assert len({said(process) for process in processes}) == 1


def test_found_server_is_made_as_safe_as_asked(make: Make) -> None:
    """A site that promises fsync and finds a server without strengthens it; nobody weakens it."""
    make().ensure()
    server = make(appendfsync="always", maxmemory_bytes=50_000_000)
    server.ensure()
    assert setting(server, "appendfsync") == "always"
    assert setting(server, "maxmemory") == "50000000"
    make().ensure()
    assert setting(server, "appendfsync") == "always"


def test_stale_files_of_a_dead_server_are_replaced(make: Make) -> None:
    """After a power cut there are a socket, a pid that is now another process, and a free lock."""
    server = make()
    server.ensure()
    put(server, "event")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: server.pid is None, 2, "the server's end is seen")
    assert server.socket_path.exists()
    (server.socket_path.parent / "server.pid").write_text(str(os.getpid()))
    again = make()
    again.ensure()
    assert again.pid not in {pid, os.getpid(), None}
    assert kept(again, "event")
    server.stop()  # its dead child is collected, and the new server stopped
    assert is_gone(pid)
    assert again.pid is None


def test_unknown_pid_is_learnt_from_the_server(make: Make) -> None:
    """Whoever started it may have died before writing the pid down."""
    server = make()
    server.ensure()
    pid = server.pid
    (server.socket_path.parent / "server.pid").unlink()
    assert server.pid is None
    make().ensure()
    assert server.pid == pid


def test_removed_socket_server_is_replaced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that nobody can reach any more is ended in order and started anew."""
    monkeypatch.setattr(supervisor, "UNREACHABLE_AFTER_S", 0.2)
    server = make()
    server.ensure()
    put(server, "event")
    pid = server.pid
    server.socket_path.unlink()
    again = make()
    again.ensure()
    assert again.pid != pid
    assert kept(again, "event")


def test_silent_server_error_within_the_bound(make: Make) -> None:
    """One that is there and says nothing is never doubled: waiting for it ends with an error."""
    server = make(start_timeout_s=1.5)
    server.ensure()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    began_mono = time.monotonic()
    try:
        with pytest.raises(PrivateRedisError, match=f"gave no answer for 1.5 s .process {pid}"):
            server.ensure()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert time.monotonic() - began_mono < bound(4)
    assert server.pid == pid


def test_foreign_server_at_the_socket_is_not_used(make: Make) -> None:
    """What answers must keep its data where ours are."""
    with tempfile.TemporaryDirectory() as elsewhere:
        server = make(extra_args=("--dir", elsewhere))
        with pytest.raises(PrivateRedisError, match="keeps its data in"):
            server.ensure()
        server.stop()


# Redis 6.2 can't be made to look at its clients so often while it loads.
@pytest.mark.parametrize("name", REDIS_NAMES[1:])
def test_loading_is_waited_for_as_long_as_it_gets_on(name: str, make: Make) -> None:
    """A large log may take longer than a server that makes no progress is given."""
    server = make(
        binary=str(redis_binary(name)),
        # 100 µs for each key: two seconds, and a look at its clients after every KiB.
        extra_args=("--key-load-delay", "100", "--loading-process-events-interval-bytes", "1024"),
        start_timeout_s=bound(0.2),
    )
    server.ensure()
    with closing(client(server)) as connection:
        connection.mset({f"key{number}": "x" * 100 for number in range(20_000)})
        connection.execute_command("BGREWRITEAOF")
        eventually(lambda: connection.info("persistence")["aof_rewrite_in_progress"] == 0, 10, "the file is rewritten")
        eventually(lambda: connection.info("persistence")["aof_rewrite_scheduled"] == 0, 10, "the file is rewritten")
    server.stop()
    began_mono = time.monotonic()
    server.ensure()
    assert time.monotonic() - began_mono > 1
    with closing(client(server)) as connection:
        assert connection.dbsize() == 20_000


# damage


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_damaged_log_error_names_file_and_remedy(name: str, make: Make) -> None:
    """Broken framing: the server refuses, we say which file and what to do, touch nothing, and the remedy works."""
    binary = redis_binary(name)
    server = make(binary=str(binary))
    server.ensure()
    put(server, "before")
    for number in range(50):
        put(server, f"after{number}")
    server.stop()
    directory = server.socket_path.parent
    path = next(iter(directory.glob("appendonlydir/*.incr.aof")), directory / "appendonly.aof")
    data = path.read_bytes()
    broken = data.replace(b"after20", b"\r\n*$\r\n*$")
    assert broken != data
    path.write_bytes(broken)
    with pytest.raises(PrivateRedisError, match=r"redis-check-aof --fix") as caught:
        server.ensure()
    text = str(caught.value)
    assert str(path) in text
    assert "Bad file format" in text
    assert str(server.log_path) in text
    assert path.read_bytes() == broken
    assert server.pid is None

    tool = directory / "redis-check-aof"
    tool.symlink_to(binary)
    subprocess.run([tool, "--fix", path], input=b"y\n", check=True, capture_output=True)
    server.ensure()
    assert kept(server, "before")
    assert kept(server, "after19")
    assert not kept(server, "after21")


@pytest.mark.parametrize("name", REDIS_NAMES[1:])  # before 7.0 there was no base file
def test_damaged_base_error_names_file_and_backup(name: str, make: Make) -> None:
    """What a rewrite wrote has a checksum and no repair tool: the error says so, and nothing is touched."""
    server = make(binary=str(redis_binary(name)))
    server.ensure()
    with closing(client(server)) as connection:
        connection.set("event", "x" * 100)
        connection.execute_command("BGREWRITEAOF")
        eventually(lambda: connection.info("persistence")["aof_rewrite_in_progress"] == 0, 10, "the file is rewritten")
    server.stop()
    (path,) = server.socket_path.parent.glob("appendonlydir/*.base.rdb")
    data = path.read_bytes()
    broken = data[:-1] + bytes([data[-1] ^ 1])
    path.write_bytes(broken)
    with pytest.raises(PrivateRedisError, match="backup") as caught:
        server.ensure()
    assert str(path) in str(caught.value)
    assert path.read_bytes() == broken


def test_cut_log_starts_with_what_is_whole(make: Make) -> None:
    """The end of a file that a power cut left half written is dropped by the server itself."""
    server = make()
    server.ensure()
    put(server, "first")
    put(server, "second")
    server.stop()
    (path,) = server.socket_path.parent.glob("appendonlydir/*.incr.aof")
    os.truncate(path, path.stat().st_size - 3)
    server.ensure()
    assert kept(server, "first")
    assert not kept(server, "second")


# watch


async def test_killed_server_is_restarted_with_its_data(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Within two seconds, logged with the last lines, and no zombie stays."""
    caplog.set_level(logging.INFO, "streamsite.redis")
    server = make()
    server.ensure()
    put(server, "event")
    pid = server.pid
    assert pid is not None
    async with watching(server):
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: len(events(caplog, "redis.started")) == 2, 2, "the server is back")
        assert server.pid not in {None, pid}
        assert kept(server, "event")
    assert is_gone(pid)
    (exited,) = events(caplog, "redis.exited")
    assert (exited.pid, exited.exit_status) == (pid, -signal.SIGKILL)
    assert any("Ready to accept connections" in line for line in exited.last_lines)


async def test_server_of_another_process_is_restarted(data_dir: Path, make: Make) -> None:
    """A found server is watched like one's own."""
    pid = int(said(run_ensure(data_dir)).rsplit(" ", 1)[1])
    server = make()
    server.ensure()
    put(server, "event")
    async with watching(server):
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: server.pid not in {None, pid} and server.socket_path.exists(), 2, "the server is back")
        await soon(lambda: kept(server, "event"), 2, "its data are back")


async def test_two_watch_one_restarts(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The lock decides: one starts it, the other finds it."""
    caplog.set_level(logging.INFO, "streamsite.redis")
    one, other = make(), make()
    one.ensure()
    other.ensure()
    caplog.clear()
    pid = one.pid
    assert pid is not None
    async with watching(one, other):
        os.kill(pid, signal.SIGKILL)
        await soon(
            lambda: len(events(caplog, "redis.started") + events(caplog, "redis.found")) == 2, 2, "both have it back"
        )
    assert len(events(caplog, "redis.started")) == 1
    assert one.pid == other.pid != pid


async def test_repaired_damage_heals_without_hands(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """While it can't start, attempts become rarer and say why; as soon as it can, it is back."""
    caplog.set_level(logging.INFO, "streamsite.redis")
    server = make()
    server.ensure()
    put(server, "event")
    (path,) = server.socket_path.parent.glob("appendonlydir/*.incr.aof")
    pid = server.pid
    assert pid is not None
    data = path.read_bytes()
    path.write_bytes(b"?" + data[1:])
    async with watching(server):
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: len(events(caplog, "redis.not_started")) == 3, 3, "three attempts")
        times = [record.created for record in events(caplog, "redis.not_started")]
        assert times[2] - times[1] > 2 * supervisor.BACKOFF_FIRST_S
        assert "redis-check-aof --fix" in events(caplog, "redis.not_started")[0].reason
        assert any("Bad file format" in line for line in events(caplog, "redis.exited")[1].last_lines)
        path.write_bytes(data)
        await soon(lambda: len(events(caplog, "redis.started")) == 2, 5, "it is back")
        assert kept(server, "event")


async def test_trouble_of_the_system_does_not_end_the_watch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors, the server is not taken for dead; a full disk makes one more attempt, not the last one."""
    server = make()
    server.ensure()
    pid = server.pid
    assert pid is not None
    trouble = {"is_server_alive": OSError(errno.EMFILE, "too many"), "prepare": OSError(errno.ENOSPC, "full")}
    seen: list[str] = []

    def failing_thrice(name: str) -> Callable[[], object]:
        real = getattr(server._place, name)

        def call() -> object:
            seen.append(name)
            if seen.count(name) <= 3:
                raise trouble[name]
            return real()

        return call

    monkeypatch.setattr(server._place, "is_server_alive", failing_thrice("is_server_alive"))
    async with watching(server):
        await soon(lambda: seen.count("is_server_alive") > 4, 3, "the watch asks again")
        assert server.pid == pid
        monkeypatch.setattr(server._place, "prepare", failing_thrice("prepare"))
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: server.pid not in {None, pid}, 5, "the server is back")
    assert seen.count("prepare") == 4


def test_forked_process_does_not_take_the_server_for_dead(make: Make) -> None:
    """Popen of a forked process believes that a child of its parent is dead; a second server would ruin the files."""
    server = make()
    server.ensure()
    pid = server.pid
    forked = os.fork()
    if forked == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if server.pid == pid else 1)
        os._exit(2)
    assert os.waitpid(forked, 0)[1] == 0


async def test_watch_does_not_hold_the_loop(make: Make) -> None:
    """While a server is restarted and loads, everything else on the loop goes on."""
    server = make(extra_args=("--key-load-delay", "200", "--loading-process-events-interval-bytes", "1024"))
    server.ensure()
    with closing(client(server)) as connection:
        connection.mset({f"key{number}": "x" for number in range(5_000)})
        connection.execute_command("BGREWRITEAOF")
        eventually(lambda: connection.info("persistence")["aof_rewrite_in_progress"] == 0, 10, "the file is rewritten")
    pid = server.pid
    assert pid is not None
    longest_s = 0.0
    async with watching(server):
        os.kill(pid, signal.SIGKILL)
        is_back = asyncio.create_task(
            soon(lambda: server.pid not in {None, pid} and dbsize(server) == 5_000, 10, "back")
        )
        while not is_back.done():
            began_mono = time.monotonic()
            await asyncio.sleep(0.005)
            longest_s = max(longest_s, time.monotonic() - began_mono)
        await is_back
    assert longest_s < bound(0.1)


def dbsize(server: PrivateRedis) -> int:
    """How many keys there are; 0 while the server is away or loads."""
    try:
        with closing(client(server)) as connection:
            return int(connection.dbsize())
    except redis.RedisError:
        return 0


async def test_watch_cancelled_and_stopped_nothing_comes_back(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of the site's end, in the middle of a restart: no server appears behind its back."""
    server = make()
    server.ensure()
    pid = server.pid
    assert pid is not None
    is_restarting, may_restart, has_restarted = threading.Event(), threading.Event(), threading.Event()
    bring_up = server._bring_up

    def bring_up_late() -> Iterator[float]:
        is_restarting.set()
        may_restart.wait(bound(10))
        try:
            yield next(bring_up())
        finally:
            has_restarted.set()

    monkeypatch.setattr(server, "_bring_up", bring_up_late)
    task = asyncio.create_task(server.watch())
    os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(is_restarting.wait, bound(5))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await asyncio.to_thread(server.stop)
    may_restart.set()
    await asyncio.to_thread(has_restarted.wait, bound(5))
    assert server.pid is None
    assert not server._place.is_server_alive()


async def test_watch_of_a_stopped_server_leaves_it(make: Make) -> None:
    """What was stopped on purpose is not restarted, until it is asked for again."""
    server = make()
    server.ensure()
    async with watching(server):
        await asyncio.to_thread(server.stop)
        await asyncio.sleep(0.4)
        assert not server.socket_path.exists()
        await asyncio.to_thread(server.ensure)
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: server.pid not in {None, pid}, 3, "the server is back")


# stop


def test_stop_of_a_stuck_server_kills_it(make: Make) -> None:
    """One that can't end in order is killed after the timeout."""
    server = make()
    server.ensure()
    put(server, "event")
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    server.stop(timeout_s=0.3)
    assert is_gone(pid)
    server.ensure()
    assert kept(server, "event")


def test_stop_without_proc_asks_by_the_socket(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a pid can't be checked (a Mac, another container) no signal is sent."""
    server = make()
    server.ensure()
    pid = server.pid
    assert pid is not None
    monkeypatch.setattr(server._place, "holds_server_lock", lambda pid: False)
    server.stop()
    assert is_gone(pid)


def test_stop_of_another_processes_server_ends_it(data_dir: Path, make: Make) -> None:
    """Whoever started it, `serve` stops it."""
    pid = int(said(run_ensure(data_dir)).rsplit(" ", 1)[1])
    make().stop()
    eventually(lambda: is_gone(pid) or is_zombie(pid), 2, "the server's end")


def is_zombie(pid: int) -> bool:
    """Whether it has ended and only its parent's `wait` is missing."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_stop_without_a_server_does_nothing(data_dir: Path, make: Make) -> None:
    """Nothing to stop is no error, twice, and makes no directory."""
    make().stop()
    make().stop()
    assert not data_dir.exists()


def test_stop_spares_a_process_that_has_taken_the_pid(make: Make) -> None:
    """A stale pid may be anybody's: it gets no signal."""
    server = make()
    server.ensure()
    server.stop()
    with subprocess.Popen([shutil.which("sleep") or "sleep", "60"]) as innocent:
        (server.socket_path.parent / "server.pid").write_text(str(innocent.pid))
        fd = server._place.new_server_lock()
        server._place.note_pid(innocent.pid)
        try:
            with pytest.raises(PrivateRedisError, match="can't be ended"):
                stop_quickly(server)
            assert innocent.poll() is None
        finally:
            os.close(fd)
            innocent.kill()


def stop_quickly(server: PrivateRedis) -> None:
    """Stop with short timeouts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor, "KILL_TIMEOUT_S", 0.1)
        server.stop(timeout_s=0.1)


def test_socket_of_a_stranger_is_not_connected_to(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private directory vanished and somebody else made it and listens: he is not spoken to."""
    monkeypatch.setattr(supervisor, "UNREACHABLE_AFTER_S", 0.2)
    server = PrivateRedis(data_dir / LONG)
    server.ensure()
    put(server, "event")
    directory = server.socket_path.parent
    server.socket_path.unlink()
    directory.rmdir()
    directory.mkdir()
    directory.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(directory / "redis.sock"))
        stranger.listen()
        stranger.settimeout(0.05)
        try:
            server.ensure()
            assert server.socket_path.parent != directory
            assert kept(server, "event")
            with pytest.raises(TimeoutError):
                stranger.accept()
        finally:
            server.stop()
            (directory / "redis.sock").unlink(missing_ok=True)  # a Redis that ends removes what has its socket's name
            directory.rmdir()
