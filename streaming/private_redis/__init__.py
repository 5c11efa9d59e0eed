"""The embedded Redis: a server of our own on a Unix socket, for a site that was given none.

`machine` knows the binary and the memory, `place` the directories, the locks and the socket's path, `process` the child and
its log; `supervisor` starts the server, finds it again, stops it, and restarts it when it dies.
"""

from __future__ import annotations

from .machine import find_binary, memory_limit_bytes, server_version
from .place import PrivateRedisError
from .supervisor import PrivateRedis

__all__ = ["PrivateRedis", "PrivateRedisError", "find_binary", "memory_limit_bytes", "server_version"]
