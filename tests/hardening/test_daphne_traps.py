"""What stock daphne does, and ours does otherwise: each first seen with daphne as it is, in a process of its own.

A test here that fails in its first half says that daphne has changed: then what `streamsite/server/` corrects may have
become unnecessary, or wrong.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import signal
import struct
from collections.abc import Iterator

import pytest

from tests.hardening.test_ft23_descriptors import limit_descriptors
from tests.streaming.api.raw_http import Answer
from tests.streamsite.server.probe import open_descriptors
from tests.streamsite.server.served import Served, Wire
from tests.streamsite.server.websocket import open_websocket, read_frame, websocket_frame, websocket_head
from tests.support.deadlines import bound, eventually

pytestmark = pytest.mark.slow

LIMITS = {"head_s": 0.5, "write_s": 1.0, "idle_s": 2.0, "leave_s": 0.5}
HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"
GET_LIVE = b"GET /live" + HEAD + b"\r\n"
MB = 1024 * 1024
A_WHILE_S = 1.5
"""Longer than ours takes for anything here; daphne is seen to do nothing for so long."""


@pytest.fixture(scope="module")
def stock() -> Iterator[Served]:
    """Daphne as it is."""
    with Served(is_stock=True) as running:
        yield running


@pytest.fixture(scope="module")
def ours() -> Iterator[Served]:
    """What this site is served by."""
    with Served(limits=LIMITS) as running:
        yield running


def is_silent(wire: Wire, seconds: float = A_WHILE_S) -> bool:
    """Whether the server neither says anything nor ends the connection."""
    return not select.select([wire.socket], [], [], seconds)[0]


def begin_live(wire: Wire) -> None:
    """Open a stream and read its first part."""
    wire.send(GET_LIVE)
    while wire.line() != b"first\r\n":
        pass


def answered(served: Served, sent: bytes, method: str = "GET") -> Answer:
    """The answer to these bytes."""
    return served.exchange(sent, method)


# Streams


def test_daphne_makes_what_nobody_reads(stock: Served, ours: Served) -> None:
    """D1: its `send` never waits; 100 MB for a client that reads nothing are 100 MB. Ours are some KB."""
    sent = b"GET /large?bytes=100000000" + HEAD + b"\r\n"
    before = stock.rss_bytes()
    with stock.wire(receive_bytes=4096) as wire:
        wire.send(sent)
        stock.until("produced", 100_000_000)
        assert stock.rss_bytes() - before > 80 * MB
    before, stalled = ours.rss_bytes(), ours.metrics().total("stream_connections_timed_out_total", phase="write")
    with ours.wire(receive_bytes=4096) as wire:
        wire.send(sent)
        eventually(
            lambda: ours.metrics().total("stream_connections_timed_out_total", phase="write") > stalled,
            4,
            "it is ended",
        )
        assert ours.count("produced") < 20_000_000
        assert ours.rss_bytes() - before < 2 * MB


def test_daphne_hangs_after_an_exception_in_a_stream(ours: Served) -> None:
    """D2: the client waits for ever, and what sweeps up after all others has died of it. Ours breaks the connection."""
    with Served(is_stock=True) as stock:
        with stock.wire() as wire:
            wire.send(b"GET /fail-late" + HEAD + b"\r\n")
            while wire.line() != b"first\r\n":
                pass
            assert is_silent(wire, 2.5)
            for _ in range(5):
                stock.get("/hello")
            assert is_silent(wire, 1.1)  # a sweep is due each second
        assert stock.count("connections") > 5
    with ours.wire() as wire:
        wire.send(b"GET /fail-late" + HEAD + b"\r\n")
        assert not wire.rest().endswith(b"0\r\n\r\n")
    ours.get("/hello")
    ours.until("connections", 1)


def test_daphne_ends_a_stream_as_if_it_were_complete(ours: Served) -> None:
    """D3, D4: its only time limit counts the whole answer and writes a last chunk. Ours never finishes for an application."""
    with Served(is_stock=True, arguments=("--http-timeout", "1")) as limited, limited.wire() as wire:
        begin_live(wire)
        assert wire.line() == b"0\r\n"
    with ours.wire() as wire:
        begin_live(wire)
        assert is_silent(wire, 2 * max(LIMITS["write_s"], LIMITS["leave_s"]))
    with ours.wire() as wire:
        wire.send(b"GET /unfinished" + HEAD + b"\r\n")
        assert not wire.rest().endswith(b"0\r\n\r\n")


def test_daphne_ends_no_client_that_reads_nothing(stock: Served, ours: Served) -> None:
    """D12: no limit holds while an answer is sent."""
    left = [served.count("running") for served in (stock, ours)]
    with stock.wire(receive_bytes=4096) as one, ours.wire(receive_bytes=4096) as two:
        for wire in (one, two):
            wire.send(b"GET /large?bytes=30000000" + HEAD + b"\r\n")
        ours.until("running", left[1], 4 * LIMITS["write_s"])
        assert len(two.rest()) < 30_000_000
        assert one.answer().body == b"x" * 30_000_000, "it has waited, with all of it in memory"


def test_daphne_does_not_see_a_client_leave_behind_requests(stock: Served, ours: Served) -> None:
    """D13: with more than 16 KB behind a stream it reads no further, not even to the end of the connection."""
    for served, notices in ((stock, False), (ours, True)):
        left = served.count("left")
        with served.wire() as wire:
            begin_live(wire)
            wire.send((b"GET /hello" + HEAD + b"X-A: " + b"a" * 8000 + b"\r\n\r\n") * 10)
        if notices:
            served.until("left", left + 1)
        else:
            with served.wire() as wire:
                assert is_silent(wire, 2.0)
            assert served.count("left") == left


def test_daphne_knows_neither_hints_nor_trailers(stock: Served, ours: Served) -> None:
    """D9: an application that sends them fails. Ours sends them to whoever asks."""
    sent = b"GET /informed" + HEAD + b"TE: trailers\r\n\r\n"
    with stock.wire() as wire:
        wire.send(sent)
        assert wire.answer().status == 500
    with ours.wire() as wire:
        wire.send(sent)
        assert wire.line() == b"HTTP/1.1 103 Early Hints\r\n"
        assert wire.line() == b"Link: </a.css>; rel=preload\r\n"
        wire.line()
        while wire.line() != b"summed\r\n":
            pass
        assert [wire.line() for _ in range(4)] == [b"0\r\n", b"x-sum: 6\r\n", b"x-more: 7\r\n", b"\r\n"]


# Bodies


def test_daphne_takes_a_body_whole_before_anybody_wants_it(stock: Served, ours: Served) -> None:
    """D7: the application begins after the last byte, and each byte is held twice. Ours begins with the header."""
    for served, begins in ((stock, False), (ours, True)):
        with served.wire() as wire:
            wire.send(b"POST /refuse" + HEAD + b"Content-Length: 1000000\r\n\r\nabc")
            if begins:
                assert wire.answer().status == 413
            else:
                assert is_silent(wire)
            assert ("/refuse" in served.ran()) is begins


def test_daphne_asks_for_every_body(stock: Served, ours: Served) -> None:
    """`Expect: 100-continue` is there so that a body that will be refused is not sent."""
    sent = b"POST /refuse" + HEAD + b"Expect: 100-continue\r\nContent-Length: 100000000\r\n\r\n"
    with stock.wire() as wire:
        wire.send(sent)
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
    with ours.wire() as wire:
        wire.send(sent)
        assert wire.line() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
    with ours.wire() as wire:
        wire.send(b"POST /size" + HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        wire.line()
        wire.send(b"abc")
        assert wire.answer().body == b"3"


# Heads


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /a HTTP/1.1\r\n\r\n",
        b"GET /a" + HEAD + b"Host: evil.example\r\n\r\n",
        b"GET /a" + HEAD + b"X-A: b\r\n c\r\n\r\n",
        b"POST /a" + HEAD + b"Transfer-Encoding: identity\r\n\r\n",
        b"GET http://evil.example/x" + HEAD + b"\r\n",
        b"CONNECT /a" + HEAD + b"\r\n",
    ],
    ids=["no Host", "two Hosts", "a folded line", "identity", "another host in the target", "CONNECT"],
)
def test_daphne_passes_on_what_can_be_read_in_two_ways(stock: Served, ours: Served, sent: bytes) -> None:
    """The whole table for ours is in test_gate_on_the_wire.py."""
    assert answered(stock, sent).status == 200
    assert answered(ours, sent).status == 400


def test_daphne_closes_without_a_word_on_a_long_field(stock: Served, ours: Served) -> None:
    """Ours says which limit it was."""
    sent = b"GET /a" + HEAD + b"X-A: " + b"a" * 20_000 + b"\r\n\r\n"
    with stock.wire() as wire:
        wire.send(sent)
        with contextlib.suppress(ConnectionError):
            assert wire.rest() == b""
    assert answered(ours, sent).slug == "fields-too-large"


def test_daphne_waits_for_a_head_for_ever(stock: Served, ours: Served) -> None:
    """Slowloris: each of its connections stays. Ours answers 408."""
    with stock.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: loc")
        assert is_silent(wire, 3 * LIMITS["head_s"])
    with ours.wire() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: loc")
        assert wire.answer().status == 408


def test_daphne_lets_a_client_choose_the_root_path(stock: Served, ours: Served) -> None:
    """A field of its own protocol with proxies is taken from anybody, and moves every link on the page."""
    sent = b"GET /echo" + HEAD + b"Daphne-Root-Path: /evil\r\n\r\n"
    assert json.loads(answered(stock, sent).body)["root_path"] == "/evil"
    assert not json.loads(answered(ours, sent).body).get("root_path")
    assert open_websocket(stock, b"Daphne-Root-Path: /evil\r\n")["root_path"] == "/evil"
    assert open_websocket(ours, b"Daphne-Root-Path: /evil\r\n")["root_path"] == ""


def test_daphne_sends_no_date(stock: Served, ours: Served) -> None:
    """RFC 9110, 6.6.1: a server with a clock must."""
    assert stock.get("/hello").headers["Date"] is None
    assert ours.get("/hello").headers["Date"]


# WebSocket


def test_daphne_drops_a_bad_websocket_frame_by_reset(stock: Served, ours: Served) -> None:
    """The client can't know that it was wrong; by RFC 6455, 7.4.1, it gets a code."""
    bad = {1002: websocket_frame(1, b"a", is_masked=False), 1007: websocket_frame(1, b"\xff\xfe"), 1009: struct.pack("!BBQ", 0x81, 0xFF, 2 << 20) + b"\0" * 4}  # fmt: skip
    for served, code_is_told in ((stock, False), (ours, True)):
        for code, frame in bad.items():
            with served.wire() as wire:
                wire.send(websocket_head())
                while wire.line() != b"\r\n":
                    pass
                read_frame(wire)
                wire.send(frame)
                if code_is_told:
                    opcode, payload = read_frame(wire)
                    assert (opcode, int.from_bytes(payload[:2], "big")) == (8, code)
                else:
                    assert wire.rest() == b""


def test_websocket_frames_right_behind_the_handshake_arrive(ours: Served) -> None:
    """They come in the same bytes; whoever hands the connection over has to hand them over too (daphne does not lose them)."""
    with ours.wire() as wire:
        wire.send(websocket_head() + websocket_frame(1, b"early"))
        while wire.line() != b"\r\n":
            pass
        read_frame(wire)
        assert read_frame(wire) == (1, b"early")


# The process


def test_daphne_has_no_lifespan(stock: Served) -> None:
    """Whoever needs to start something has nobody to tell it when, nor when to stop."""
    assert stock.count("startup") == 0
    with Served() as ours:
        assert ours.count("startup") == 1
        ours.process.send_signal(signal.SIGTERM)
        assert ours.process.wait(bound(5)) == 0
        assert ours.logged("lifespan.shutdown")


def test_daphne_cuts_requests_at_sigterm() -> None:
    """D5: it cancels what runs. Ours lets it come to its end."""
    for is_stock in (True, False):
        with Served(is_stock=is_stock) as served, served.wire() as wire:
            wire.send(b"GET /slow?s=0.5" + HEAD + b"\r\n")
            served.until("slow", 1)
            served.process.send_signal(signal.SIGTERM)
            if is_stock:
                with pytest.raises((ConnectionError, http.client.HTTPException)):
                    wire.answer()
            else:
                assert wire.answer().body == b"in the end"


def test_daphne_forgets_streams_at_sigterm_behind_half_a_request() -> None:
    """D6: it looks for the application of a request that has none yet, and no `finally` runs. Ours runs them all."""
    for is_stock in (True, False):
        with Served(is_stock=is_stock, arguments=("--grace", "5.3")) as served, contextlib.ExitStack() as stack:
            half, live = stack.enter_context(served.wire()), stack.enter_context(served.wire())
            half.send(b"POST /size" + HEAD + b"Content-Length: 10\r\n\r\nabc")
            served.get("/hello")
            live.send(b"GET /ending" + HEAD + b"\r\n")
            served.until("ending", 1)
            served.process.send_signal(signal.SIGTERM)
            code = served.process.wait(bound(8))
            assert (code == 0, bool(served.logged("finally"))) == ((True, False) if is_stock else (True, True))


def test_daphne_keeps_requests_that_are_over(stock: Served, ours: Served) -> None:
    """D10: it forgets once a second, in one sweep over all. Ours when they are over."""
    for served, kept in ((stock, True), (ours, False)):
        with served.wire() as wire:
            for _ in range(50):
                wire.ask("/hello")
        assert (served.count("connections") > 25) is kept


def test_daphne_drops_clients_when_descriptors_run_out(stock: Served, ours: Served) -> None:
    """Twisted accepts them with a spare one and closes at once. Ours leaves them where they wait (FT23)."""
    for served, is_dropped in ((stock, True), (ours, False)):
        pid = served.process.pid
        with served.wire() as kept:
            assert kept.ask("/hello").status == 200
            limit_descriptors(pid, open_descriptors(pid))
            with served.wire() as wire:
                assert is_silent(wire, 0.5) is not is_dropped
            limit_descriptors(pid, 4096)
