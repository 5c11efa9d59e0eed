"""The helper starts the real servers, breaks them as told, and joins three to a cluster."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests.support import redis_server
from tests.support.deadlines import bound
from tests.support.redis_server import REDIS_NAMES, RedisCluster, RedisServer, redis_binary


@pytest.mark.parametrize("name", REDIS_NAMES)
@pytest.mark.parametrize("port", [None, 0], ids=["socket", "port"])
def test_killed_server_restarts_with_its_data(name: str, port: int | None) -> None:
    """The version is the one that was asked for, and its data outlive it."""
    with RedisServer(name, port=port) as server:
        with closing(server.client()) as client:
            client.set("event", "kept")
        assert server.aof_path.stat().st_size > 0
        server.kill()
        server.restart()
        with closing(server.client()) as client:
            assert client.get("event") == b"kept"
        directory = server.directory
    assert not directory.exists()


def test_stopped_server_is_silent_until_continued() -> None:
    """SIGSTOP leaves the connection standing and the command without an answer."""
    with RedisServer() as server, closing(server.client(socket_timeout=0.1)) as client:
        server.stop()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.cont()
        with closing(server.client()) as patient:
            assert patient.ping()


def test_given_directory_environment_and_wrapper_are_used(tmp_path: Path) -> None:
    """What a fault test needs: its own files, a preloaded shim, a limited process."""
    wrapper = ("sh", "-c", 'echo "$SHIM" >"$0"; exec prlimit --fsize=300000 "$@"', str(tmp_path / "shim"))
    with RedisServer(port=0, directory=tmp_path, env={"SHIM": "on"}, wrapper=wrapper) as server:
        assert (tmp_path / "shim").read_text() == "on\n"
        assert "300000" in Path(f"/proc/{server.pid}/limits").read_text()
        assert server.binary.samefile(f"/proc/{server.pid}/exe")
    assert (tmp_path / "redis.log").exists()


def test_refused_argument_failure_shows_the_log() -> None:
    """A server that does not start says why in the test's failure."""
    with pytest.raises(AssertionError, match="no-such-option"):
        RedisServer(args=("--no-such-option", "1")).__enter__()


def test_missing_binary_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is skipped in silence."""
    monkeypatch.setattr(redis_server, "_in_package", lambda package, path: tmp_path / path)
    with pytest.raises(AssertionError, match=r"redis-8\.2 is not installed"):
        redis_binary("redis-8.2")


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_cluster_serves_every_slot(name: str) -> None:
    """Keys land on all three nodes, on the one that is said to have them."""
    with RedisCluster(name) as cluster:
        with closing(redis.RedisCluster.from_url(cluster.url, socket_timeout=bound(1))) as client:
            for number in range(50):
                client.set(f"key{number}", number)
        nodes = set()
        for number in range(50):
            node = cluster.node_for(f"key{number}")
            with closing(node.client()) as direct:
                assert direct.get(f"key{number}") == str(number).encode()
            nodes.add(node.port)
        assert len(nodes) == 3
