"""HTTP/2: what is answered, how slow clients are waited for, and what a client that means harm can cost."""

from __future__ import annotations

import json
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h2.exceptions
import pytest
from h2 import events
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hpack import Encoder
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.streamsite.server.running import Http2Client, Running, running
from tests.support.certificates import CertificateFiles, write_certificate
from tests.support.deadlines import bound, eventually

pytestmark = pytest.mark.slow

_MIB = 1024 * 1024
_QUICK = {"head_s": 1.0, "idle_s": 1.0, "write_s": 1.5, "body_s": 60.0, "body_grace_s": 1.0, "linger_s": 1.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    """A certificate for localhost."""
    return write_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, files: CertificateFiles) -> Iterator[Running]:
    """Our server."""
    with running(tmp_path_factory.mktemp("server"), tls=files) as started:
        yield started
        assert "connection.failed" not in started.log()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, files: CertificateFiles) -> Iterator[Running]:
    """Our server, with limits that a test can wait for."""
    with running(tmp_path_factory.mktemp("server"), tls=files, limits=_QUICK) as started:
        yield started


@pytest.fixture
def client(server: Running) -> Iterator[Http2Client]:
    """A connection to our server."""
    with server.http2() as connected:
        yield connected


# What is answered


def test_curl_is_answered(server: Running) -> None:
    """With a date, a name without a version, and nothing of the connection."""
    answer = server.curl("/connection-fields", "--http2").stdout
    head, _, body = answer.replace("\r\n", "\n").partition("\n\n")
    fields = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    assert head.startswith("HTTP/2 200")
    assert body == "ok"
    assert fields.pop("date").endswith("GMT")
    assert fields == {"content-type": "text/plain", "x-name": "Value", "server": "streamsite", "content-length": "2"}


def test_application_sees_what_was_asked(client: Http2Client) -> None:
    """As over HTTP/1.1: the authority as Host, the raw path, no underscores, no way to move the site."""
    extra = [
        ("x-a", "b"),
        ("x_forwarded_for", "1.2.3.4"),
        ("daphne-root-path", "/evil"),
        ("cookie", "a=b"),
        ("cookie", "c=d"),
    ]
    assert client.answer(client.ask("/scope?a=b", extra=extra))[0] == 200
    number = client.ask("/%73cope?a=%20b", extra=extra)
    scope = json.loads(client.answer(number)[2])
    assert (scope["http_version"], scope["scheme"], scope["root_path"]) == ("2", "https", "")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/scope", "/%73cope", "a=%20b")
    assert dict(scope["headers"]) == {
        "host": client.authority,
        "x-a": "b",
        "daphne-root-path": "/evil",
        "cookie": "a=b; c=d",
    }


def test_head_has_no_body(client: Http2Client) -> None:
    """But the length that the body would have, if the application says it."""
    status, _, body = client.answer(client.ask("/", "HEAD"))
    assert (status, body) == (200, b"")


def test_hint_and_trailers_are_sent(client: Http2Client) -> None:
    """Trailers to who takes them; the hint before everything."""
    number = client.ask("/informed", extra=[("te", "trailers")])
    assert client.answer(number)[2] == b"summed"
    hint = client.until(events.InformationalResponseReceived, number)
    assert (":status", "103") in hint.headers
    assert dict(client.until(events.TrailersReceived, number).headers) == {"x-sum": "6"}
    number = client.ask("/informed")
    assert client.answer(number)[2] == b"summed"
    with pytest.raises(AssertionError):
        client.until(events.TrailersReceived, number, within_s=0)


def test_body_comes_as_it_is_sent(client: Http2Client) -> None:
    """The application has the first part before the second is sent."""
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, client.fields("/echo", "POST"))
    client.h2.send_data(number, b"one")
    client.flush()
    client.until(events.DataReceived, number)
    assert client.body(number) == b"one"
    client.h2.send_data(number, b"two", end_stream=True)
    client.flush()
    assert client.answer(number)[2] == b"onetwo"


def test_continue_is_sent_when_the_body_is_wanted(client: Http2Client) -> None:
    """And not before."""
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, client.fields("/count", "POST", [("expect", "100-continue")]))
    client.flush()
    assert (":status", "100") in client.until(events.InformationalResponseReceived, number).headers
    client.h2.send_data(number, b"body", end_stream=True)
    client.flush()
    assert client.answer(number)[2] == b"4 1"


def test_large_bodies_go_both_ways(client: Http2Client) -> None:
    """Past every window, several at a time."""
    numbers = [client.ask("/stream?n=40&size=100000") for _ in range(4)]
    for number in numbers:
        assert len(client.answer(number, 20)[2]) == 4_000_000
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, client.fields("/count", "POST"))
    left = 3_000_000
    while left:
        room = min(client.h2.local_flow_control_window(number), client.h2.max_outbound_frame_size, left)
        if room <= 0:
            assert client.receive()
            continue
        client.h2.send_data(number, bytes(room), end_stream=room == left)
        client.flush()
        left -= room
    assert client.answer(number)[2].split()[0] == b"3000000"


def test_rest_of_a_window_is_no_dribble(client: Http2Client) -> None:
    """Messages that leave a few bytes of each window are sent for as long as they come."""
    number = client.ask("/stream?n=300&size=65400")
    assert len(client.answer(number, 20)[2]) == 300 * 65400


def test_hundred_requests_at_a_time_are_served(server: Running) -> None:
    """h2load is answered without a failure."""
    command = ["h2load", "-n", "2000", "-c", "4", "-m", "100", f"{server.url}/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=bound(20), check=False)
    assert "2000 succeeded, 0 failed, 0 errored" in done.stdout


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({":path": "a"}, 400),
        ({":path": "http://evil/x"}, 400),
        ({":path": "/a b"}, 400),
        ({":path": "/a#b"}, 400),
        ({":path": "/\u00e9"}, 400),
        ({":path": "/" + "a" * 9000}, 414),
        ({":method": "get"}, 400),
        ({":method": "TRACE"}, 400),
        ({":scheme": "ftp"}, 400),
        ({":authority": "user@host"}, 400),
        ({":authority": "a/b"}, 400),
        ({"x": "a\x0bb"}, 400),
        ({"x": "a" * 9000}, 431),
        ({f"x-{number}": "a" for number in range(101)}, 431),
        ({f"x-{number}": "a" * 4000 for number in range(10)}, 431),
        ({"expect": "cake"}, 417),
    ],
    ids=lambda value: str(value)[:40],
)
def test_gate_refuses(client: Http2Client, change: dict[str, str], status: int) -> None:
    """With a problem document, and the connection goes on."""
    fields = {**dict(client.fields("/")), **change}
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, list(fields.items()), end_stream=True)
    client.flush()
    got, answered, body = client.answer(number)
    assert (got, answered["content-type"]) == (status, "application/problem+json")
    assert b'"request_id"' in body
    assert client.answer(client.ask("/"))[2] == b"hello"


@pytest.mark.parametrize(
    "fields",
    [
        [("connection", "close")],
        [("transfer-encoding", "chunked")],
        [("upgrade", "h2c")],
        [("te", "gzip")],
        [("X-Capital", "a")],
        [("x", "a\r\nx-evil: b")],
        [("x", "a\0b")],
        [("x\r\ny", "a")],
        [(":path", "/again")],
        [(":status", "200")],
        [("host", "other")],
        [("content-length", "+4")],
    ],
    ids=str,
)
def test_broken_fields_end_stream_or_connection(server: Running, fields: list[tuple[str, str]]) -> None:
    """What two servers could read in two ways reaches no application (RFC 9113, 8.2)."""
    begun = server.state()["begun"]
    with server.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/", extra=fields), end_stream=True)
        client.flush()
        while client.receive(0.5):
            pass
        answered = [event for event in client.events if isinstance(event, events.ResponseReceived)]
        ended = [
            event for event in client.events if isinstance(event, (events.StreamReset, events.ConnectionTerminated))
        ]
        assert ended or client.answer(answered[0].stream_id or 0)[0] == 400
    assert server.state()["begun"] == begun + 1  # this look at the state


@pytest.mark.parametrize("parts", [[], [b"abc"], [b"abcd", b"e"], ["trailers"]], ids=str)
def test_body_of_another_length_is_no_request(server: Running, parts: list[Any]) -> None:
    """Content-Length says 4; less, more, nothing, and less with trailers behind (RFC 9113, 8.1.1)."""
    with server.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/count", "POST", [("content-length", "4")]), end_stream=not parts)
        for part in parts:
            if part == "trailers":
                client.h2.send_headers(number, [("x-a", "b")], end_stream=True)
            else:
                client.h2.send_data(number, part, end_stream=part is parts[-1])
        client.flush()
        while client.receive(0.5):
            pass
        assert not [event for event in client.events if isinstance(event, events.ResponseReceived)]
        ended = [
            event for event in client.events if isinstance(event, (events.StreamReset, events.ConnectionTerminated))
        ]
        assert ended[0].error_code == ErrorCodes.PROTOCOL_ERROR


# What fails


def test_failure_before_the_answer_is_a_problem(client: Http2Client) -> None:
    """500, without the exception's text."""
    status, fields, body = client.answer(client.ask("/fail"))
    assert (status, fields["content-type"]) == (500, "application/problem+json")
    assert b"wanted" not in body


def test_line_end_in_an_answer_is_a_failure(client: Http2Client) -> None:
    """A field with a line end would become two behind a proxy that speaks HTTP/1.1 (CWE-113)."""
    assert client.answer(client.ask("/line-end"))[0] == 500


def failure_beside_a_stream(running_server: Running) -> tuple[bool, bytes]:
    """Let one answer fail on its way and another one begin before and end after it.

    Returns: whether the failed one was reset, and the other one's body.
    """
    with running_server.http2() as client:
        other = client.h2.get_next_available_stream_id()
        client.h2.send_headers(other, client.fields("/count", "POST"))
        client.flush()
        failing = client.ask("/fail-late")
        was_reset = True
        try:
            client.until(events.StreamReset, failing, within_s=0.6)
        except AssertionError:
            was_reset = False
        body = b""
        with suppress(AssertionError, h2.exceptions.ProtocolError):
            client.h2.send_data(other, b"four", end_stream=True)
            client.flush()
            body = client.answer(other, within_s=1)[2]
        return was_reset, body


def test_failure_in_the_middle_resets_one_stream(server: Running) -> None:
    """Nobody takes the part for the whole, and the other requests of the connection go on."""
    assert failure_beside_a_stream(server) == (True, b"4 1")


def test_daphne_failure_in_the_middle_leaves_the_stream_open(tmp_path: Path, files: CertificateFiles) -> None:
    """Stock daphne lets the client wait for ever."""
    with running(tmp_path, "--stock", tls=files) as stock:
        was_reset, _ = failure_beside_a_stream(stock)
    assert not was_reset


def upload_after_the_answer(running_server: Running) -> bytes:
    """Go on to send a body whose request is answered already, then ask for something else.

    Returns: the body of the second answer.
    """
    with running_server.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/refuse", "POST"))
        for _ in range(4):
            client.h2.send_data(number, bytes(10000))
        client.flush()
        with suppress(AssertionError):
            client.until(events.ResponseReceived, number, within_s=0.5)
        frame = DataFrame(number, data=bytes(1000))
        client.send(frame.serialize())
        try:
            return client.answer(client.ask("/"), within_s=1)[2]
        except (AssertionError, h2.exceptions.ProtocolError):
            return b""


def test_curl_reads_the_answer_to_a_body_that_is_too_large(server: Running, tmp_path: Path) -> None:
    """Which it sends still when the answer comes."""
    body = tmp_path / "body"
    body.write_bytes(bytes(9_000_000))
    for _ in range(3):
        done = server.curl("/refuse", "--http2", "--data-binary", f"@{body}")
        assert done.stdout.startswith("HTTP/2 413"), done
        assert done.stdout.endswith("too large")


def test_answer_before_the_end_of_the_body_hurts_nobody(server: Running) -> None:
    """The client is told to send no more of it, and what was under way is dropped."""
    assert upload_after_the_answer(server) == b"hello"
    with server.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/refuse", "POST"))
        client.flush()
        assert client.answer(number)[0] == 413
        client.h2.send_data(number, bytes(16000))
        client.flush()
        assert client.until(events.StreamReset, number).error_code == ErrorCodes.NO_ERROR
        assert client.answer(client.ask("/"))[2] == b"hello"


def test_daphne_answers_no_request_before_its_body_has_ended(tmp_path: Path, files: CertificateFiles) -> None:
    """Stock daphne collects the body first, however long."""
    with running(tmp_path, "--stock", tls=files) as stock, stock.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/refuse", "POST"))
        client.h2.send_data(number, bytes(10000))
        client.flush()
        with pytest.raises(AssertionError):
            client.until(events.ResponseReceived, number, within_s=0.2)


def test_client_that_takes_a_request_back_is_gone_for_the_application(server: Running, client: Http2Client) -> None:
    """At once, by http.disconnect; also when the whole connection goes."""
    left = server.state()["left"]
    number = client.ask("/wait")
    client.until(events.DataReceived, number)
    client.h2.reset_stream(number, ErrorCodes.CANCEL)
    client.flush()
    eventually(lambda: server.state()["left"] == left + 1, 1, "the application was told")
    client.until(events.DataReceived, client.ask("/wait"))
    client.socket.close()
    eventually(lambda: server.state()["left"] == left + 2, 1, "the application was told again")


def test_client_that_says_goodbye_gets_its_answers(client: Http2Client) -> None:
    """GOAWAY says that no request follows, not that the answers are unwanted (RFC 9113, 6.8)."""
    number = client.ask("/stream?n=10&size=20000")
    goaway = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8)
    client.send(goaway)
    assert len(client.answer(number)[2]) == 200_000
    client.until_closed()


# Who is waited for


def stalled_parts(running_server: Running) -> tuple[int, int]:
    """Ask for 32 MiB with a window of 64 KiB that never opens, and for something else meanwhile.

    Returns: parts of 64 KiB that the application could send, and the growth of the server's memory.
    """
    with running_server.http2() as client:
        client.answer(client.ask("/stream?n=20&size=65536"), 10)
    before = running_server.state()
    with running_server.http2() as client:
        client.h2.increment_flow_control_window(_MIB)
        client.ask("/stream?n=512&size=65536")
        assert client.answer(client.ask("/"))[2] == b"hello"
        client.opens_windows = False
        time.sleep(1)
        after = running_server.state()
    return after["sent"] - before["sent"], after["rss"] - before["rss"]


def test_closed_window_stops_the_application(server: Running) -> None:
    """`await send()` waits for the client, and the other streams do not."""
    sent, grown_bytes = stalled_parts(server)
    assert sent < 16
    assert grown_bytes < _MIB


def test_daphne_closed_window_fills_the_memory(tmp_path: Path, files: CertificateFiles) -> None:
    """Stock daphne takes all of the answer from the application."""
    with running(tmp_path, "--stock", tls=files) as stock:
        sent, grown_bytes = stalled_parts(stock)
    assert sent >= 512
    assert grown_bytes > 16 * _MIB


def test_body_that_the_application_does_not_take_stays_with_the_client(server: Running, client: Http2Client) -> None:
    """Up to the window, and not a byte more; other requests go on."""
    number = client.h2.get_next_available_stream_id()
    client.h2.send_headers(number, client.fields("/ignore", "POST"))
    sent = 0
    while (room := min(client.h2.local_flow_control_window(number), 16384)) > 0 or client.receive(0.3):
        if room > 0:
            client.h2.send_data(number, bytes(room))
            client.flush()
            sent += room
    assert sent == 256 * 1024
    assert client.answer(client.ask("/"))[2] == b"hello"
    assert server.state()["rss"]


def test_client_that_reads_nothing_is_not_read_from(server: Running) -> None:
    """Answers that are headers alone know no window: 20,000 of them are not kept for who does not take them."""
    before = server.state()["rss"]
    with server.http2(receive_bytes=4096) as client:
        client.h2.increment_flow_control_window(_MIB)
        encoder = Encoder()
        client.socket.settimeout(1.0)
        with suppress(OSError):
            for number in range(1, 40001, 2):
                frame = HeadersFrame(number, data=encoder.encode(client.fields("/", "HEAD")))
                end(frame)
                client.socket.sendall(frame.serialize())
        assert server.state()["rss"] - before < 4 * _MIB


# Time limits


def test_idle_connection_is_ended_with_a_word(quick: Running) -> None:
    """After its last answer, whatever it pings."""
    with quick.http2() as client:
        client.answer(client.ask("/"))
        for _ in range(8):
            client.h2.ping(bytes(8))
            client.flush()
            client.receive(0.2)
        end = client.until_closed()
    assert end is not None
    assert end.error_code == ErrorCodes.NO_ERROR


def test_client_that_never_begins_is_ended(quick: Running) -> None:
    """The handshake agreed on HTTP/2, and then nothing comes."""
    with quick.http2(is_begun=False) as client:
        began_mono = time.monotonic()
        with suppress(h2.exceptions.ProtocolError):
            client.until_closed()
        assert time.monotonic() - began_mono < bound(4)


def test_window_that_stays_closed_ends_the_stream(quick: Running) -> None:
    """After the time that a client may take nothing; the connection lives as long as others do."""
    with quick.http2() as client:
        other = client.h2.get_next_available_stream_id()
        client.h2.send_headers(other, client.fields("/wait", "POST"))
        client.opens_windows = False
        number = client.ask("/stream?n=100&size=65536")
        assert client.until(events.StreamReset, number, within_s=5).error_code == ErrorCodes.CANCEL
        assert not client.is_closed


def test_slow_body_is_refused(quick: Running) -> None:
    """Less than a kilobyte a second."""
    with quick.http2() as client:
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/count", "POST"))
        client.flush()
        deadline_mono = time.monotonic() + bound(8)
        while not [event for event in client.events if isinstance(event, events.StreamEnded)]:
            with suppress(h2.exceptions.ProtocolError):
                client.h2.send_data(number, b"a")
                client.flush()
            client.receive(0.3)
            assert time.monotonic() < deadline_mono
        assert client.answer(number)[0] == 408


def end(frame: Frame) -> None:
    """Let headers be complete, and the request with them."""
    frame.flags.add("END_HEADERS")
    frame.flags.add("END_STREAM")


# Floods: each has to end with a word, cost little, and hurt nobody


def headers(client: Http2Client, number: int, path: str = "/wait", encoder: Encoder | None = None) -> Frame:
    """The frame of a request."""
    frame = HeadersFrame(number, data=(encoder or Encoder()).encode(client.fields(path)))
    end(frame)
    return frame


def rapid_reset(client: Http2Client) -> Iterator[bytes]:
    """Each request is taken back at once (CVE-2023-44487)."""
    for number in range(1, 4001, 2):
        yield headers(client, number).serialize() + RstStreamFrame(number, error_code=8).serialize()


def made_resets(client: Http2Client) -> Iterator[bytes]:
    """Requests that the server has to reset: their windows are opened beyond what can be."""
    for number in range(1, 4001, 2):
        yield (headers(client, number).serialize() + WindowUpdateFrame(number, window_increment=2**31 - 1).serialize())


def continuations(client: Http2Client) -> Iterator[bytes]:
    """A header block of 20,000 pieces that are empty."""
    yield HeadersFrame(1, data=Encoder().encode(client.fields("/"))).serialize()
    for _ in range(20000):
        yield ContinuationFrame(1, data=b"").serialize()


def long_continuations(client: Http2Client) -> Iterator[bytes]:
    """A header block of 16 MB."""
    yield HeadersFrame(1, data=Encoder().encode(client.fields("/"))).serialize()
    for _ in range(1000):
        yield ContinuationFrame(1, data=bytes(16384)).serialize()


def header_bomb(client: Http2Client) -> Iterator[bytes]:
    """One entry of the table, 4 KB long, used 16,000 times in a block of 16 KB (CVE-2016-6581)."""
    encoder = Encoder()
    fields = [*client.fields("/"), ("x-bomb", "a" * 3900)]
    first = HeadersFrame(1, data=encoder.encode(fields))
    end(first)
    yield first.serialize()
    bomb = HeadersFrame(3, data=Encoder().encode(client.fields("/")) + b"\xbe" * 16000)
    end(bomb)
    yield bomb.serialize()


def settings(client: Http2Client) -> Iterator[bytes]:
    """Each has to be acknowledged."""
    for _ in range(50000):
        yield SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: 65535}).serialize()


def pings(client: Http2Client) -> Iterator[bytes]:
    """Each has to be answered."""
    for _ in range(50000):
        yield PingFrame(0, opaque_data=bytes(8)).serialize()


def priorities(client: Http2Client) -> Iterator[bytes]:
    """Of streams that are never opened."""
    for number in range(1, 100001, 2):
        yield PriorityFrame(number, depends_on=0, stream_weight=1).serialize()


def unknown_frames(client: Http2Client) -> Iterator[bytes]:
    """They have to be ignored, and cost time."""
    for _ in range(50000):
        yield b"\x00\x00\x04\xee\x00\x00\x00\x00\x00abcd"


def empty_data(client: Http2Client) -> Iterator[bytes]:
    """It opens no window and ends nothing (CVE-2019-9518)."""
    first = HeadersFrame(1, data=Encoder().encode(client.fields("/ignore", "POST")))
    first.flags.add("END_HEADERS")
    yield first.serialize()
    for _ in range(50000):
        yield DataFrame(1, data=b"").serialize()


def window_updates(client: Http2Client) -> Iterator[bytes]:
    """Windows that are opened by a byte."""
    for _ in range(50000):
        yield WindowUpdateFrame(0, window_increment=1).serialize()


def dribble(client: Http2Client) -> Iterator[bytes]:
    """A window of nothing, opened byte by byte (CVE-2019-9511)."""
    yield SettingsFrame(0, settings={SettingCodes.INITIAL_WINDOW_SIZE: 0}).serialize()
    yield headers(client, 1, "/stream?n=100&size=65536").serialize()
    time.sleep(0.1)
    for _ in range(2000):
        yield WindowUpdateFrame(1, window_increment=1).serialize()


def too_many_streams(client: Http2Client) -> Iterator[bytes]:
    """Five times what was agreed on, all of them waiting."""
    for number in range(1, 1001, 2):
        yield headers(client, number).serialize()


FLOODS: list[tuple[Callable[[Http2Client], Iterator[bytes]], set[ErrorCodes]]] = [
    (rapid_reset, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (made_resets, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (continuations, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (long_continuations, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (header_bomb, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (settings, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (pings, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (priorities, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (unknown_frames, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (empty_data, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (window_updates, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (dribble, {ErrorCodes.ENHANCE_YOUR_CALM}),
    (too_many_streams, {ErrorCodes.PROTOCOL_ERROR, ErrorCodes.REFUSED_STREAM}),
]


@pytest.mark.parametrize(("flood", "codes"), FLOODS, ids=lambda value: getattr(value, "__name__", ""))
def test_flood_is_ended(
    server: Running, flood: Callable[[Http2Client], Iterator[bytes]], codes: set[ErrorCodes]
) -> None:
    """By GOAWAY, with less than 16 MiB, no task left behind, and the answers of others as before."""
    before = server.state()
    with server.http2() as bystander, server.http2() as client:
        client.socket.settimeout(bound(2))
        batch = b""
        for data in flood(client):
            batch += data
            if len(batch) > 8000:
                client.send(batch)
                batch = b""
        client.send(batch)
        try:
            end = client.until_closed()
        except h2.exceptions.ProtocolError:
            end = None  # it answers requests that this client has no memory of; the reason is in the log
        during = server.state()
        assert bystander.answer(bystander.ask("/"))[2] == b"hello"
    if end is not None:
        assert end.error_code in codes
    elif ErrorCodes.ENHANCE_YOUR_CALM in codes:
        assert "connection.flooded" in server.log()
    assert during["rss"] - before["rss"] < 16 * _MIB
    eventually(lambda: server.state()["running"] <= before["running"] + 1, 12, "what was begun has ended")


def test_daphne_begins_a_thousand_requests_that_are_taken_back(tmp_path: Path, files: CertificateFiles) -> None:
    """Stock daphne runs the application for each of them, and neither says nor notes anything; we run it for 100 at most."""
    with running(tmp_path, "--stock", tls=files) as stock, stock.http2() as client:
        client.send(b"".join(rapid_reset(client)))
        eventually(lambda: stock.state()["begun"] > 900, 5, "they have begun")


def test_settings_that_nobody_knows_are_not_kept(server: Running) -> None:
    """65,536 of them in few frames; h2 would keep each."""
    before = server.state()["rss"]
    with server.http2() as client:
        for first in range(0x100, 0x100 + 2700 * 20, 2700):
            payload = b"".join(code.to_bytes(2) + bytes(4) for code in range(first, first + 2700))
            client.send(len(payload).to_bytes(3) + b"\x04\x00" + bytes(4) + payload)
        assert client.answer(client.ask("/"))[2] == b"hello"
        assert server.state()["rss"] - before < 4 * _MIB


def test_table_of_the_client_is_not_our_memory(server: Running) -> None:
    """A client that allows a table of 4 GB gets answers packed with 4 KB."""
    with server.http2() as client:
        client.h2.update_settings({SettingCodes.HEADER_TABLE_SIZE: 2**32 - 1})
        client.flush()
        client.answer(client.ask("/"))
        before = server.state()["rss"]
        for _ in range(2000):
            client.answer(client.ask("/fail"))  # a request id of its own in each
            client.events.clear()
        assert server.state()["rss"] - before < 2 * _MIB


# The end of the server


def test_drain_lets_streams_finish(tmp_path: Path, files: CertificateFiles) -> None:
    """GOAWAY at once, and the answer under way comes to its end."""
    with running(tmp_path, tls=files) as server, server.http2() as client, server.http2() as idle:
        idle.answer(idle.ask("/"))
        number = client.h2.get_next_available_stream_id()
        client.h2.send_headers(number, client.fields("/echo", "POST"))
        client.h2.send_data(number, b"begun ")
        client.flush()
        client.until(events.DataReceived, number)
        server.process.send_signal(signal.SIGTERM)
        assert idle.until_closed() is not None
        end = client.until(events.ConnectionTerminated)
        assert (end.error_code, end.last_stream_id) == (ErrorCodes.NO_ERROR, 2**31 - 1)
        data = DataFrame(number, data=b"ended")
        data.flags.add("END_STREAM")
        client.send(data.serialize())
        client.until(events.StreamEnded, number)
        assert client.body(number) == b"begun ended"
        assert server.process.wait(bound(5)) == 0


def test_reset_together_with_a_request_is_noticed(quick: Running) -> None:
    """Libuv looks no more at a socket that is broken when its bytes are read: nothing else would tell of the end."""
    for _ in range(10):
        with quick.http2() as client:
            client.until(events.SettingsAcknowledged)
            client.ask("/leave")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: quick.state()["running"] == 1, 2, "the applications have ended, but for the one that is asked")
