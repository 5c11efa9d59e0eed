"""The probe as a process: started, asked over raw sockets, its counts, metrics and log lines read, ended."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import select
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.streaming.api.raw_http import Answer, ask
from tests.streamsite.server.probe import resident_bytes
from tests.support.deadlines import bound, eventually
from tests.support.site import Metrics

__all__ = ["LOOPS", "Served", "Wire"]

ROOT = Path(__file__).resolve().parents[3]
LOOPS = ("uvloop", "asyncio")
_START_S = 5.0
_ANSWER_S = 4.0


class Wire:
    """One connection: bytes out as they are, answers in, one after the other.

    Args:
        raw: connected.
    """

    def __init__(self, raw: socket.socket) -> None:
        self.socket = raw
        self._received = _Kept(raw)

    @classmethod
    def open(cls, address: tuple[str, int], *, receive_bytes: int | None = None) -> Self:
        """Connect; waits are bounded, and each write is a segment of its own.

        Args:
            receive_bytes: how much the kernel takes in for us; the least that it allows is about 2 KB.
        """
        raw = socket.socket()
        raw.settimeout(bound(_ANSWER_S))
        if receive_bytes is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        raw.connect(address)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(raw)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """The next answer, whole.

        Raises: http.client.HTTPException, OSError: the connection ended before it was.
        """
        response = http.client.HTTPResponse(self._received, method=method)  # type: ignore[arg-type]
        response.begin()
        return Answer(response.status, response.headers, response.read())

    def ask(self, target: str, method: str = "GET", *fields: str) -> Answer:
        """Send a request without a body and read its answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, "", ""]
        self.send("\r\n".join(lines).encode())
        return self.answer(method)

    def line(self) -> bytes:
        """Up to the next line end."""
        return self._received.file.readline()

    def take(self, size: int) -> bytes:
        """So many bytes."""
        return self._received.file.read(size)

    def rest(self) -> bytes:
        """Everything up to the end of the connection, orderly or not.

        Raises: AssertionError: it is still open.
        """
        received = b""
        try:
            while part := self._received.file.read1():
                received += part
        except TimeoutError:
            raise AssertionError(f"the connection is open after {received[-200:]!r}") from None
        except ConnectionError:
            pass
        return received

    def reset(self) -> None:
        """Leave with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Leave."""
        self._received.file.close()
        self.socket.close()


class _Kept:
    """What http.client takes for a socket; each answer's reader is the same, so none takes bytes of the next one."""

    def __init__(self, raw: socket.socket) -> None:
        self.file: io.BufferedReader = raw.makefile("rb")

    def makefile(self, _mode: str) -> _KeptFile:
        return _KeptFile(self.file)


class _KeptFile:
    def __init__(self, file: io.BufferedReader) -> None:
        self.readline, self.read, self.readinto, self.peek, self.read1 = (
            file.readline,
            file.read,
            file.readinto,
            file.peek,
            file.read1,
        )

    def flush(self) -> None: ...

    def close(self) -> None: ...


class Served:
    """One server with the probe.

    Args:
        loop: uvloop or asyncio.
        limits: other than the server's own.
        is_stock: daphne as it is.
        arguments: further ones of the runner.
        env: further environment.
    """

    def __init__(
        self,
        loop: str = "uvloop",
        *,
        limits: Mapping[str, float] | None = None,
        is_stock: bool = False,
        arguments: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", "tests.streamsite.server.run", "--loop", loop, *arguments]
        if limits:
            self._command += ["--limits", *(f"{name}={value}" for name, value in limits.items())]
        if is_stock:
            self._command.append("--stock")
        self._env = {**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})}
        self.port = 0

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile(prefix="served-", suffix=".log")
        self.process = subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, env=self._env, text=True
        )
        try:
            self.port = self._read_port()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if any(_):
            sys.stdout.write(f"--- end of the server's log\n{self.log()[-4000:]}\n---\n")
        self.process.kill()
        self.process.wait(bound(_START_S))
        if self.process.stdout is not None:
            self.process.stdout.close()
        self._log.close()

    def _read_port(self) -> int:
        assert self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], bound(_START_S))[0]:
            raise AssertionError(f"it does not accept\n{self.log()}")
        line = self.process.stdout.readline()
        assert line, f"it ended\n{self.log()}"
        return int(json.loads(line)["port"])

    # Asking

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return ("127.0.0.1", self.port)

    def wire(self, *, receive_bytes: int | None = None) -> contextlib.closing[Wire]:
        """A connection, closed with the block."""
        return contextlib.closing(Wire.open(self.address, receive_bytes=receive_bytes))

    def get(self, target: str) -> Answer:
        """One request on a connection of its own."""
        return ask(self.address, "GET", target)

    def exchange(self, sent: bytes, method: str = "GET") -> Answer:
        """Send bytes and read one answer."""
        with self.wire() as wire:
            wire.send(sent)
            return wire.answer(method)

    # What is there

    def state(self) -> dict[str, Any]:
        """What the application and the server count; the request that asks is among it."""
        state: dict[str, Any] = json.loads(self.get("/state").body)
        return state

    def count(self, name: str) -> int:
        """One of them, 0 where nothing has been counted."""
        return int(self.state().get(name, 0))

    def ran(self) -> list[str]:
        """The raw paths of the requests that reached the application."""
        ran: list[str] = json.loads(self.get("/ran").body)
        return ran

    def metrics(self) -> Metrics:
        """The process's metrics."""
        return Metrics.parse(self.get("/metrics").body.decode())

    def rss_bytes(self) -> int:
        """Its memory, without asking it."""
        return resident_bytes(self.process.pid)

    def cpu_s(self) -> float:
        """The processor time that it has had, without asking it."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def log(self) -> str:
        """What it wrote."""
        return Path(self._log.name).read_text(errors="replace")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log lines of an event."""
        lines = []
        for text in self.log().splitlines():
            with contextlib.suppress(ValueError):
                if (line := json.loads(text))["event"] == event:
                    lines.append(line)
        return lines

    def until(self, name: str, value: int, within_s: float = 2.0) -> None:
        """Wait until a count has a value."""
        eventually(lambda: self.count(name) == value, within_s, f"{name} is {value}")
