"""The proxy does to connections what its methods say, no more and no less."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deadlines import bound, eventually
from tests.support.tcpx import Tcpx


class _Echo:
    """Answers each received chunk with itself; remembers all that it received."""

    def __init__(self, path: str | None = None) -> None:
        self.received = b""
        self._sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        self._sock.bind(path or ("127.0.0.1", 0))
        self._sock.listen()
        self.address = path or self._sock.getsockname()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            try:
                while chunk := client.recv(65536):
                    self.received += chunk
                    client.sendall(chunk)
            except OSError:
                return

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


@pytest.fixture
def echo() -> Iterator[_Echo]:
    """A server behind the proxy."""
    server = _Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: _Echo) -> Iterator[Tcpx]:
    """The proxy before it, which knows the words GET and SUBSCRIBE."""
    with Tcpx(echo.address, marks=[b"GET", b"SUBSCRIBE"]) as tcpx:
        yield tcpx


@pytest.fixture
def client(proxy: Tcpx) -> Iterator[socket.socket]:
    """A connection through the proxy."""
    with _connect(proxy) as sock:
        yield sock


def _connect(proxy: Tcpx) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", proxy.port))
    sock.settimeout(bound(2))
    return sock


def _ask(sock: socket.socket, text: bytes) -> bytes:
    sock.sendall(text)
    answer = b""
    while len(answer) < len(text):
        chunk = sock.recv(65536)
        if not chunk:
            break
        answer += chunk
    return answer


def _is_silent(sock: socket.socket) -> bool:
    sock.settimeout(0.1)
    try:
        sock.recv(1)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(bound(2))
    return False


def test_no_toxic_passes_bytes_both_ways(client: socket.socket, echo: _Echo) -> None:
    """Without a toxic the proxy is a wire."""
    text = bytes(range(256)) * 4000
    sender = threading.Thread(target=client.sendall, args=(text,))
    sender.start()
    answer = b""
    while len(answer) < len(text):
        answer += client.recv(65536)
    sender.join()
    assert answer == text
    assert echo.received == text


def test_unix_socket_on_both_sides_passes_bytes(tmp_path: Path) -> None:
    """The private Redis listens on a Unix socket, so the proxy must too."""
    server = _Echo(str(tmp_path / "up.sock"))
    with Tcpx(str(tmp_path / "up.sock"), listen=str(tmp_path / "down.sock")) as proxy:
        assert proxy.redis_url == f"unix://{tmp_path}/down.sock"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(bound(2))
            sock.connect(str(proxy.address))
            assert _ask(sock, b"hello") == b"hello"
    server.close()


def test_cut_closes_and_refuses_until_healed(proxy: Tcpx, client: socket.socket) -> None:
    """A cut connection ends in an orderly way; new ones end at once until the proxy is healed."""
    assert _ask(client, b"1") == b"1"
    proxy.cut()
    assert client.recv(1) == b""
    with _connect(proxy) as other, pytest.raises(ConnectionResetError):
        other.recv(1)
    proxy.heal()
    with _connect(proxy) as other:
        assert _ask(other, b"2") == b"2"


def test_reset_sends_rst_to_chosen_connections_only(proxy: Tcpx, client: socket.socket) -> None:
    """Connections are chosen by a word that was sent on them."""
    with _connect(proxy) as subscriber:
        _ask(client, b"get x")
        _ask(subscriber, b"subscribe x")
        assert proxy.count(b"SUBSCRIBE") == 1
        proxy.reset(only=b"SUBSCRIBE")
        with pytest.raises(ConnectionResetError):
            subscriber.recv(1)
        assert _ask(client, b"still here") == b"still here"


@pytest.mark.parametrize(("way", "arrives"), [("up", False), ("down", True), ("both", False)])
def test_stall_holds_one_direction_and_heal_lets_it_go_on(
    proxy: Tcpx, client: socket.socket, echo: _Echo, way: str, arrives: bool
) -> None:
    """Nothing is lost by a stall, and it holds only the direction that was asked for."""
    _ask(client, b"1")
    proxy.stall(way)  # type: ignore[arg-type]
    client.sendall(b"2")
    assert _is_silent(client)
    assert (echo.received == b"12") is arrives
    proxy.heal()
    assert client.recv(10) == b"2"


def test_cut_during_stall_loses_what_was_held(proxy: Tcpx, client: socket.socket, echo: _Echo) -> None:
    """How a replica loses what its primary believes to have sent."""
    _ask(client, b"1")
    proxy.stall("up")
    client.sendall(b"2")
    assert _is_silent(client)
    proxy.cut()
    proxy.heal()
    with _connect(proxy) as other:
        assert _ask(other, b"3") == b"3"
    assert echo.received == b"13"


def test_delay_holds_chunks_back_in_order(proxy: Tcpx, client: socket.socket) -> None:
    """Latency applies to each direction."""
    proxy.delay(0.05, jitter_s=0.01)
    began_mono = time.monotonic()
    assert _ask(client, b"1") == b"1"
    assert time.monotonic() - began_mono >= 0.1
    proxy.heal()


def test_discard_lets_the_sender_believe(proxy: Tcpx, client: socket.socket, echo: _Echo) -> None:
    """Discarded bytes never arrive, and the connection lives on."""
    _ask(client, b"1")
    proxy.discard("up")
    client.sendall(b"22")
    eventually(lambda: proxy.lost_bytes() == 2, 1, "two bytes lost")
    proxy.heal()
    assert _ask(client, b"3") == b"3"
    assert echo.received == b"13"


def test_dropped_reply_lets_the_request_through_once(proxy: Tcpx, client: socket.socket, echo: _Echo) -> None:
    """The server has done it, the client sees the first bytes of the answer and a reset; the next request is whole."""
    proxy.drop_reply(b"GET", after_bytes=2)
    client.sendall(b"GET abc")
    assert client.recv(100) == b"GE"
    with pytest.raises(ConnectionResetError):
        client.recv(100)
    assert echo.received == b"GET abc"
    assert proxy.dropped_replies() == 1
    with _connect(proxy) as other:
        assert _ask(other, b"GET abc") == b"GET abc"


def test_mark_cut_in_two_is_noticed(proxy: Tcpx, client: socket.socket) -> None:
    """TCP may cut a word anywhere."""
    _ask(client, b"SUBSC")
    assert proxy.count(b"SUBSCRIBE") == 0
    _ask(client, b"RIBE")
    assert proxy.count(b"SUBSCRIBE") == 1


def test_retarget_sends_new_connections_elsewhere(proxy: Tcpx, client: socket.socket, echo: _Echo) -> None:
    """As a failover does; a connection that exists stays where it is."""
    second = _Echo()
    _ask(client, b"1")
    proxy.retarget(second.address)
    with _connect(proxy) as other:
        _ask(other, b"2")
    _ask(client, b"3")
    assert (echo.received, second.received) == (b"13", b"2")
    second.close()


def test_server_gone_ends_the_connection(tmp_path: Path) -> None:
    """A connection that can't be made further is refused to the client too."""
    with Tcpx(str(tmp_path / "nothing.sock")) as proxy, _connect(proxy) as sock, pytest.raises(ConnectionResetError):
        sock.recv(1)
