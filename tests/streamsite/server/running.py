"""`asgi_app` as a process, and a client that speaks HTTP/2 to it frame by frame."""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import httpx

from tests.support.certificates import CertificateFiles
from tests.support.deadlines import bound

__all__ = ["Http2Client", "Running", "running", "tls_socket"]

ROOT = Path(__file__).resolve().parents[3]


class Running:
    """A server.

    Args:
        process: that it is.
        port: that it listens on.
        tls: of its certificate; None without TLS.
        log_path: of its standard error.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], port: int, tls: CertificateFiles | None, log_path: Path
    ) -> None:
        self.process = process
        self.port = port
        self.tls = tls
        self.log_path = log_path

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def get(self, path: str, **options: Any) -> httpx.Response:
        """One request, over HTTP/1.1."""
        verify: Any = tls_context(self.tls) if self.tls else True
        with httpx.Client(base_url=self.url, verify=verify, timeout=bound(4), trust_env=False) as client:
            return client.get(path, **options)

    def state(self) -> dict[str, int]:
        """What the application counts, and its memory."""
        seen: dict[str, int] = self.get("/state").json()
        return seen

    def log(self) -> str:
        """What it printed."""
        return self.log_path.read_text(errors="replace")

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        """One request by curl, with the head of its answer."""
        assert self.tls is not None
        command = ["curl", "-s", "-D-", "--max-time", str(bound(4)), "--cacert", str(self.tls.certificate)]
        return subprocess.run(
            [*command, *options, f"{self.url}{path}"], capture_output=True, text=True, timeout=bound(10), check=False
        )

    def http2(self, **options: Any) -> Http2Client:
        """A connection."""
        assert self.tls is not None
        return Http2Client(self.port, self.tls, **options)


@contextmanager
def running(
    directory: Path, *arguments: str, tls: CertificateFiles | None = None, limits: Mapping[str, float] | None = None
) -> Iterator[Running]:
    """Start the application; ended with the block.

    Args:
        arguments: `--stock` for daphne as it is.
        limits: other than the server's own.
    """
    command = [sys.executable, "-m", "tests.streamsite.server.asgi_app", *arguments]
    if tls is not None:
        command += ["--tls", str(tls.certificate), str(tls.key)]
    command += ["--limits", json.dumps(dict(limits or {}))]
    log_path = directory / "server.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text()
        yield Running(process, int(line), tls, log_path)
    finally:
        process.kill()
        process.wait(bound(5))
        if process.stdout is not None:
            process.stdout.close()


def tls_context(files: CertificateFiles, *protocols: str) -> ssl.SSLContext:
    """A client's."""
    context = ssl.create_default_context(cafile=str(files.certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def tls_socket(port: int, files: CertificateFiles, *protocols: str, receive_bytes: int = 0) -> ssl.SSLSocket:
    """Connected, after the handshake."""
    raw = socket.socket()
    raw.settimeout(bound(5))
    if receive_bytes:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    raw.connect(("127.0.0.1", port))
    return tls_context(files, *protocols).wrap_socket(raw, server_hostname="127.0.0.1")


class Http2Client:
    """One connection: h2 where it helps, raw frames where h2 would not let us.

    Args:
        checks: whether h2 may refuse to send what is wrong.
        receive_bytes: of the socket's buffer.
        is_begun: whether the connection begins as it should.
    """

    def __init__(
        self, port: int, files: CertificateFiles, *, checks: bool = False, receive_bytes: int = 0, is_begun: bool = True
    ) -> None:
        self.socket = tls_socket(port, files, "h2", receive_bytes=receive_bytes)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding="utf-8",
                validate_outbound_headers=checks,
                normalize_outbound_headers=checks,
            )
        )
        self.authority = f"127.0.0.1:{port}"
        self.is_closed = False
        self.opens_windows = True
        self._buffer = b""
        self.events: list[Any] = []
        if is_begun:
            self.h2.initiate_connection()
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, where: TracebackType | None
    ) -> None:
        self.socket.close()

    def fields(self, path: str, method: str = "GET", extra: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
        """Those of a request."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path)]
        return [*pseudo, *extra]

    def ask(
        self, path: str, method: str = "GET", extra: Iterable[tuple[str, str]] = (), *, body: bytes | None = None
    ) -> int:
        """Send a request; the body too where it is given.

        Returns: the number of its stream.
        """
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, self.fields(path, method, extra), end_stream=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        self.flush()
        return number

    def flush(self) -> None:
        """Send what h2 has made."""
        self.send(self.h2.data_to_send())

    def send(self, data: bytes) -> None:
        """Send bytes as they are; a server that has closed is noticed by whoever reads."""
        with suppress(OSError):
            self.socket.sendall(data)

    def receive(self, within_s: float = 4.0) -> bool:
        """Wait for bytes and note their events; False at the end of the connection, or when nothing came."""
        if not self.socket.pending() and not select.select([self.socket], [], [], within_s)[0]:
            return False
        try:
            data = self.socket.recv(65536)
        except (OSError, ssl.SSLError):
            data = b""
        if not data:
            self.is_closed = True
            return False
        self._buffer += data
        while len(self._buffer) >= 9 and len(self._buffer) >= (end := 9 + int.from_bytes(self._buffer[:3])):
            frame, self._buffer = self._buffer[:end], self._buffer[end:]
            for event in self.h2.receive_data(frame):
                self._note(event)
        self.flush()
        return True

    def _note(self, event: Any) -> None:
        self.events.append(event)
        if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length and self.opens_windows:
            with suppress(h2.exceptions.ProtocolError):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN  # streams may go on

    def until(self, kind: type[Any], number: int | None = None, within_s: float = 4.0) -> Any:
        """The first event of a kind, of a stream if its number is given.

        Raises: AssertionError: it did not come, or the connection ended.
        """
        deadline_mono = time.monotonic() + bound(within_s)
        while True:
            for event in self.events:
                if isinstance(event, kind) and number in {None, getattr(event, "stream_id", None)}:
                    return event
            left_s = deadline_mono - time.monotonic()
            assert left_s > 0, f"no {kind.__name__} in {self.events}"
            if not self.receive(left_s):
                assert not self.is_closed, f"closed without {kind.__name__}: {self.events}"

    def answer(self, number: int, within_s: float = 4.0) -> tuple[int, dict[str, str], bytes]:
        """Status, fields and body of an answer that is complete."""
        self.until(h2.events.StreamEnded, number, within_s)
        begun = self.until(h2.events.ResponseReceived, number)
        fields = dict(begun.headers)
        return int(fields.pop(":status")), fields, self.body(number)

    def body(self, number: int) -> bytes:
        """What has come of a body."""
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, h2.events.DataReceived) and event.stream_id == number
        )

    def until_closed(self, within_s: float = 10.0) -> h2.events.ConnectionTerminated | None:
        """Read up to the end of the connection.

        Returns: the last GOAWAY.
        Raises: AssertionError: it did not end.
        """
        deadline_mono = time.monotonic() + bound(within_s)
        while not self.is_closed:
            left_s = deadline_mono - time.monotonic()
            assert left_s > 0, "the connection is open"
            self.receive(left_s)
        ends = [event for event in self.events if isinstance(event, h2.events.ConnectionTerminated)]
        return ends[-1] if ends else None
