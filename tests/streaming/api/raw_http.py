"""Requests exactly as written, bytes and all: what a client library would repair or refuse to send."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.deadlines import bound

__all__ = ["Answer", "ask", "opened", "read_answer", "request_bytes"]

_ANSWER_S = 6.0
"""Above the site's own deadlines, so that the site is what answers."""


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document; empty when the body is none."""
        if self.headers.get("Content-Type") != "application/problem+json":
            return {}
        document: dict[str, Any] = json.loads(self.body)
        return document

    @property
    def slug(self) -> str:
        """The last part of the problem's type; empty when the body is none."""
        return str(self.problem.get("type", "")).removeprefix("/problems/")


def request_bytes(
    method: str, target: bytes, headers: Sequence[tuple[str, bytes]] = (), body: bytes | None = None
) -> bytes:
    """A request as it goes over the wire; Content-Length is added for a body unless the headers say how it is sent."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: localhost"]
    lines += [name.encode() + b": " + value for name, value in headers]
    names = {name.lower() for name, _ in headers}
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + (body or b"")


@contextlib.contextmanager
def opened(address: tuple[str, int]) -> Iterator[socket.socket]:
    """A connection with bounded waits."""
    with socket.create_connection(address, timeout=bound(_ANSWER_S)) as connection:
        yield connection


def read_answer(connection: socket.socket, method: str) -> Answer:
    """The next answer, whole."""
    with contextlib.closing(http.client.HTTPResponse(connection, method=method)) as response:
        response.begin()
        return Answer(response.status, response.headers, response.read())


def ask(
    address: tuple[str, int],
    method: str,
    target: str | bytes,
    headers: Sequence[tuple[str, bytes]] = (),
    body: bytes | None = None,
) -> Answer:
    """One request on a connection of its own."""
    raw = target.encode() if isinstance(target, str) else target
    with opened(address) as connection:
        connection.sendall(request_bytes(method, raw, headers, body))
        return read_answer(connection, method)
