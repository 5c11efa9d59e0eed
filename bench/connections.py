"""Connections that are held open and idle, each after one request."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from .machine import BenchError

__all__ = ["held"]

_SPARE_DESCRIPTORS = 100


@contextmanager
def held(port: int, path: str, count: int) -> Iterator[None]:
    """Hold so many connections, of which each made one request that was answered.

    Raises: BenchError: one was not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count + _SPARE_DESCRIPTORS, hard), hard))
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode("ascii")
    with ExitStack() as connections:
        for number in range(count):
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            connection.sendall(request)
            if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                raise BenchError(f"GET {path} on connection {number} was not answered")
        yield
