"""TLS under our connections: what is spoken, what a client that misbehaves costs, and new certificates."""

from __future__ import annotations

import base64
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from streamsite.server.tls import TlsError, read_pair
from tests.streamsite.server.running import Running, running, tls_context, tls_socket
from tests.support.certificates import CertificateFiles, write_certificate
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import free_port
from tests.support.site import Site

pytestmark = pytest.mark.slow

_MIB = 1024 * 1024
_LIMITS = {"head_s": 1.0, "idle_s": 5.0, "linger_s": 1.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A certificate for localhost."""
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: CertificateFiles) -> Iterator[Running]:
    """Our server."""
    with running(tmp_path_factory.mktemp("server"), tls=files, limits=_LIMITS) as started:
        yield started
        assert "connection.failed" not in started.log()


def receive_all(connection: Any) -> bytes:
    """Everything up to the end, however it ends."""
    parts = []
    with suppress(OSError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


# What is spoken


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1",), "http/1.1"), ((), None), (("http/1.1", "h2"), "h2")],
)
def test_handshake_agrees_on_the_better_protocol(
    server: Running, files: CertificateFiles, offered: tuple[str, ...], spoken: str | None
) -> None:
    """HTTP/2 for who can, HTTP/1.1 for the others and for who does not ask."""
    with tls_socket(server.port, files, *offered) as connection:
        assert connection.selected_alpn_protocol() == spoken


def test_unknown_protocol_is_refused_in_the_handshake(server: Running, files: CertificateFiles) -> None:
    """Nobody is answered in a protocol that it did not offer (RFC 7301, 3.2)."""
    with pytest.raises(ssl.SSLError, match="alert"):
        tls_socket(server.port, files, "smtp")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_modern_tls_is_spoken(server: Running, files: CertificateFiles, version: ssl.TLSVersion) -> None:
    """1.2 and 1.3, with ciphers that keep what was recorded secret when the key gets lost."""
    context = tls_context(files)
    context.minimum_version = context.maximum_version = version
    with context.wrap_socket(socket.create_connection(("127.0.0.1", server.port)), server_hostname="localhost") as tls:
        cipher = tls.cipher()
    assert cipher is not None
    assert cipher[0].startswith(("ECDHE-", "TLS_"))


def test_old_tls_is_refused(server: Running, files: CertificateFiles) -> None:
    """1.1 and before (ASVS V12.1)."""
    context = tls_context(files)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", server.port)) as raw:
        context.wrap_socket(raw, server_hostname="localhost")


def test_session_is_resumed(server: Running, files: CertificateFiles) -> None:
    """A reader that comes back costs no second signature."""
    context = tls_context(files)

    def connect(session: ssl.SSLSession | None) -> ssl.SSLSocket:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=bound(4))
        tls = context.wrap_socket(raw, server_hostname="localhost", session=session)
        tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert receive_all(tls).endswith(b"hello")
        return tls

    with connect(None) as first, connect(first.session) as second:
        assert second.session_reused


def test_application_sees_https(server: Running) -> None:
    """In the scope, from which redirects and secure cookies are made."""
    scope = server.get("/scope").json()
    assert (scope["scheme"], scope["http_version"]) == ("https", "1.1")


def test_nothing_goes_over_the_wire_in_plain_text(server: Running, files: CertificateFiles) -> None:
    """The answer is written past Twisted's queue where that is safe; under TLS it is not."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context(files).wrap_bio(incoming, outgoing, server_hostname="localhost")
    wire = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=bound(4)) as raw:

        def exchange(step: Callable[[], Any]) -> Any:
            nonlocal wire
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    data = raw.recv(65536)
                    wire += data
                    incoming.write(data)
                else:
                    raw.sendall(outgoing.read())
                    return result

        exchange(tls.do_handshake)
        exchange(lambda: tls.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        assert exchange(lambda: tls.read(65536)).endswith(b"hello")
    assert wire
    assert b"hello" not in wire
    assert b"HTTP/1.1" not in wire


def test_websocket_goes_over_tls(server: Running, files: CertificateFiles) -> None:
    """The connection is handed over with its TLS."""
    key = base64.b64encode(os.urandom(16)).decode()
    request = (
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    with tls_socket(server.port, files, "http/1.1") as connection:
        connection.sendall(request.encode())
        data = b""
        while b"\x81\x05hello" not in data:
            part = connection.recv(65536)
            assert part, data
            data += part
    assert data.startswith(b"HTTP/1.1 101 ")


# Clients that are slow, mistaken, or gone


def test_handshake_that_never_comes_is_ended(server: Running) -> None:
    """After the time that the head of a request may take."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=bound(4)) as raw:
        raw.sendall(b"\x16\x03\x01")  # how a hello begins
        began_mono = time.monotonic()
        assert receive_all(raw) == b""
    assert time.monotonic() - began_mono < bound(3)


def test_plain_http_hears_that_tls_is_spoken(server: Running) -> None:
    """In its own language, as nobody guesses it from a connection that closes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=bound(4)) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = receive_all(raw)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"TLS is spoken here" in answer


def test_rubbish_is_disconnected(server: Running) -> None:
    """Neither TLS nor HTTP."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=bound(4)) as raw:
        raw.sendall(os.urandom(64).replace(b"\x16", b"\x17"))
        receive_all(raw)
    assert server.get("/").text == "hello"


def unread(server: Running, files: CertificateFiles, count: int) -> tuple[int, int]:
    """Ask for 128 MiB on each of some connections and read none of it.

    Returns: parts of 64 KiB that the application could send, and the growth of the server's memory.
    """
    ask = b"GET /stream?n=2048&size=65536 HTTP/1.1\r\nHost: a\r\n\r\n"
    with tls_socket(server.port, files, "http/1.1", receive_bytes=4096) as first:  # warms the buffers
        first.sendall(ask)
        time.sleep(0.5)
    before = server.state()
    connections = []
    try:
        for _ in range(count):
            connections.append(tls_socket(server.port, files, "http/1.1", receive_bytes=4096))
            connections[-1].sendall(ask)
        time.sleep(1.5)
        after = server.state()
    finally:
        for connection in connections:
            connection.close()
    return after["sent"] - before["sent"], after["rss"] - before["rss"]


def test_unread_answer_costs_little(server: Running, files: CertificateFiles) -> None:
    """The application waits: 2 GB that nobody reads on 16 connections take less than 256 KiB each, TLS and all."""
    sent, grown_bytes = unread(server, files, 16)
    assert sent < 16 * 2048 / 4
    assert grown_bytes < 16 * 256 * 1024


def test_daphne_unread_answer_fills_the_memory(tmp_path: Path, files: CertificateFiles) -> None:
    """Stock daphne takes 128 MiB from the application for one client that reads none of it."""
    with running(tmp_path, "--stock", tls=files) as stock:
        sent, grown_bytes = unread(stock, files, 1)
    assert sent >= 2048
    assert grown_bytes > 64 * _MIB


@pytest.mark.parametrize("how", ["goodbye", "fin", "reset", "pipelined"])
def test_leave_is_noticed_at_once(server: Running, files: CertificateFiles, how: str) -> None:
    """With TLS' goodbye, without it, by a reset, or behind requests that are not read before their turn."""
    left = server.state()["left"]
    connection = tls_socket(server.port, files, "http/1.1")
    connection.sendall(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
    assert connection.recv(65536)
    if how == "goodbye":
        connection.settimeout(0.2)
        with suppress(OSError):
            connection.unwrap()
    elif how == "pipelined":
        connection.settimeout(0.5)
        with suppress(OSError):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 4_000)
    elif how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    eventually(lambda: server.state()["left"] == left + 1, 1, "the application was told")


def test_goodbye_behind_an_unread_answer_is_noticed(server: Running, files: CertificateFiles) -> None:
    """What the client has not taken by then it never will, so nothing waits for it."""
    running_before = server.state()["running"]
    connection = tls_socket(server.port, files, "http/1.1", receive_bytes=4096)
    connection.sendall(b"GET /stream?n=2048&size=65536 HTTP/1.1\r\nHost: a\r\n\r\n")
    eventually(lambda: server.state()["running"] == running_before + 1, 2, "it streams")
    with socket.socket(fileno=connection.detach()) as bare:
        bare.shutdown(socket.SHUT_WR)
        eventually(lambda: server.state()["running"] == running_before, 2, "the stream has ended")


def test_answer_reaches_a_client_that_still_sends(server: Running, files: CertificateFiles) -> None:
    """A refusal before the end of the body is read, not lost in a reset."""
    with tls_socket(server.port, files, "http/1.1") as connection:
        connection.sendall(b"POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
        with suppress(OSError):
            for _ in range(40):
                connection.sendall(bytes(65536))
                time.sleep(0.005)
        answer = receive_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_failed_answer_is_broken_off(server: Running, files: CertificateFiles) -> None:
    """No last chunk, so that nobody takes the beginning for the whole."""
    with tls_socket(server.port, files, "http/1.1") as connection:
        connection.sendall(b"GET /fail-late HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = receive_all(connection)
    assert b"first" in answer
    assert not answer.endswith(b"0\r\n\r\n")


# The files


def test_wrong_files_are_named(tmp_path: Path) -> None:
    """Which of the two, and what is wrong with it."""
    good, other = write_certificate(tmp_path), write_certificate(tmp_path, "other")
    locked = write_certificate(tmp_path, "locked", password=b"secret")
    rubbish = tmp_path / "rubbish"
    rubbish.write_text("no PEM")
    for certificate, key, field, reason in [
        (tmp_path / "none", good.key, "tls_cert", "can't be read: No such file"),
        (good.certificate, tmp_path / "none", "tls_key", "can't be read: No such file"),
        (rubbish, good.key, "tls_cert", "no certificate in PEM form"),
        (good.key, good.key, "tls_cert", "no certificate in PEM form"),
        (good.certificate, rubbish, "tls_key", "no private key in PEM form"),
        (good.certificate, locked.key, "tls_key", "is encrypted"),
        (good.certificate, other.key, "tls_key", "is not the key of the certificate"),
    ]:
        with pytest.raises(TlsError, match=reason) as caught:
            read_pair(certificate, key)
        assert caught.value.field == field
    assert read_pair(good.certificate, good.key).names == ["localhost", "127.0.0.1"]


@pytest.mark.parametrize(
    ("options", "variable"),
    [
        (["--tls-cert", "none.crt", "--tls-key", "site.key"], "STREAMSITE_TLS_CERT="),
        (["--tls-cert", "site.crt", "--tls-key", "none.key"], "STREAMSITE_TLS_KEY="),
        (["--tls-cert", "site.crt"], "STREAMSITE_TLS_KEY is not set"),
        (["--tls-key", "site.key"], "STREAMSITE_TLS_CERT is not set"),
    ],
)
def test_serve_refuses_wrong_files_with_one_line(tmp_path: Path, options: list[str], variable: str) -> None:
    """And with exit code 2, before it starts anything."""
    write_certificate(tmp_path)
    manage = Path(__file__).resolve().parents[3] / "manage.py"
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMSITE_", "DJANGO_"))}
    done = subprocess.run(
        [sys.executable, str(manage), "serve", "--port", "0", "--data-dir", str(tmp_path / "var"), *options],
        cwd=tmp_path,
        env={**environ, "STREAMSITE_ENV": "development"},
        capture_output=True,
        text=True,
        timeout=bound(10),
        check=False,
    )
    assert done.returncode == 2
    assert variable in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_hangup_takes_a_new_certificate(tmp_path: Path) -> None:
    """The workers are replaced, each reads the files for itself, and a file that is wrong by then changes nothing."""
    old = write_certificate(tmp_path)
    env = {"STREAMSITE_TLS_CERT": str(old.certificate), "STREAMSITE_TLS_KEY": str(old.key)}
    port = free_port()
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def serial() -> int:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=bound(2)) as raw:
            with trusting.wrap_socket(raw) as tls:
                data = tls.getpeercert(binary_form=True)
            assert data is not None
            return x509.load_der_x509_certificate(data).serial_number
        return 0

    with Site(tmp_path / "site", env=env, is_started=False) as site:
        site.port = port
        site.spawn()
        eventually(lambda: serial() == old.serial, 10, f"the site is ready\n{site.log_tail()}")
        assert f"https://127.0.0.1:{port}/" in site.log_path.read_text()
        assert "for localhost, 127.0.0.1; the certificate ends on" in site.log_path.read_text()
        new = write_certificate(tmp_path)
        os.kill(site.pid, signal.SIGHUP)
        eventually(lambda: serial() == new.serial, 10, f"the new certificate is served\n{site.log_tail()}")
        new.certificate.write_text("not a certificate")
        os.kill(site.pid, signal.SIGHUP)
        eventually(lambda: "STREAMSITE_TLS_CERT=" in site.log_path.read_text(), 10, "the log says what is wrong")
        assert serial() == new.serial
        assert site.terminate() == 0
