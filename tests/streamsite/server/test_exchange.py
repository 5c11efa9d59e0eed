"""One request and its answer: what the application gets, and what of its messages the client gets."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator

import pytest

from tests.streamsite.server.served import Served, Wire

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """The probe."""
    with Served(limits={"leave_s": 0.3}) as running:
        yield running


def head_of(wire: Wire) -> dict[str, str]:
    """Status (as `""`) and fields of the next answer."""
    fields = {"": wire.line().decode().rstrip("\r\n")}
    while (line := wire.line()) != b"\r\n":
        name, _, value = line.decode().partition(":")
        assert name.lower() not in fields, "a field twice"
        fields[name.lower()] = value.strip()
    return fields


def test_answer_in_one_part_has_its_length(served: Served) -> None:
    """The application need not count; Date and Server are added, without a version."""
    with served.wire() as wire:
        wire.send(b"GET /hello" + HEAD + b"\r\n")
        fields = head_of(wire)
        assert fields[""] == "HTTP/1.1 200 OK"
        assert (fields["content-length"], fields["server"]) == ("6", "streamsite")
        assert "transfer-encoding" not in fields
        assert "date" in fields
        assert wire.take(6) == b"/hello"


def test_answer_in_parts_is_chunked(served: Served) -> None:
    """Each part as it comes, and an end that nobody can take for a break."""
    with served.wire() as wire:
        wire.send(b"GET /large?bytes=100&part=60" + HEAD + b"\r\n")
        assert head_of(wire)["transfer-encoding"] == "chunked"
        assert wire.take(4 + 60 + 2 + 4 + 40 + 2 + 5) == (
            b"3c\r\n" + b"x" * 60 + b"\r\n" + b"28\r\n" + b"x" * 40 + b"\r\n" + b"0\r\n\r\n"
        )
        assert wire.ask("/next").body == b"/next"


def test_old_client_gets_no_chunks(served: Served) -> None:
    """HTTP/1.0 (nginx towards us, by its defaults) knows only the end of the connection."""
    with served.wire() as wire:
        wire.send(b"GET /large?bytes=100&part=60 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        fields = head_of(wire)
        assert "transfer-encoding" not in fields
        assert fields["connection"] == "close"
        assert wire.rest() == b"x" * 100
    with served.wire() as wire:
        wire.send(b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert head_of(wire)["connection"] == "keep-alive"
        wire.take(6)
        wire.send(b"GET /hello HTTP/1.0\r\n\r\n")
        assert head_of(wire)["connection"] == "close"


@pytest.mark.parametrize("status", [204, 304])
def test_status_without_body_gets_none(served: Served, status: int) -> None:
    """Whatever the application sends: its bytes would be the next answer."""
    with served.wire() as wire:
        wire.send(b"GET /status?is=%d" % status + HEAD + b"\r\n")
        assert "transfer-encoding" not in head_of(wire)
        assert wire.ask("/next").body == b"/next"


@pytest.mark.parametrize(
    "target",
    ["/fail", "/unanswered", "/short", "/long", "/line-end", "/status?is=101", "/status?is=99", "/status?is=1000"],
)
def test_answer_that_can_still_be_taken_back_becomes_500(served: Served, target: str) -> None:
    """A problem document without the reason, which the log has; the connection ends, the server does not."""
    answer = served.get(target)
    assert (answer.status, answer.slug) == (500, "internal")
    assert answer.headers["Connection"] == "close"
    assert b"secret" not in answer.body
    lines = served.logged("application.failed") + served.logged("application.unfinished")
    assert target.partition("?")[0] in {line["path"] for line in lines}


@pytest.mark.parametrize("target", ["/fail-late", "/unfinished", "/twice"])
def test_answer_that_fails_on_its_way_is_broken_off(served: Served, target: str) -> None:
    """A part never looks like the whole: no last chunk, no other answer behind it."""
    with served.wire() as wire:
        wire.send(b"GET " + target.encode() + HEAD + b"\r\n")
        rest = wire.rest()
        assert rest.count(b"HTTP/1.1") <= 1
        assert not rest.endswith(b"0\r\n\r\n")


def test_hints_and_trailers_go_to_whoever_asks(served: Served) -> None:
    """Trailers in two messages are one trailer section; without `TE: trailers` the answer goes without."""
    with served.wire() as wire:
        wire.send(b"GET /informed" + HEAD + b"TE: trailers\r\n\r\n")
        hints = head_of(wire)
        assert (hints[""], hints["link"]) == ("HTTP/1.1 103 Early Hints", "</a.css>; rel=preload")
        assert head_of(wire)["trailer"] == "x-sum, x-more"
        assert wire.take(11) == b"6\r\nsummed\r\n"
        assert [wire.line() for _ in range(4)] == [b"0\r\n", b"x-sum: 6\r\n", b"x-more: 7\r\n", b"\r\n"]
        wire.send(b"GET /informed" + HEAD + b"\r\n")
        head_of(wire)
        assert head_of(wire)["content-length"] == "6"
        assert wire.take(6) == b"summed"
    with served.wire() as wire:
        wire.send(b"GET /informed HTTP/1.0\r\n\r\n")
        assert wire.line() == b"HTTP/1.1 200 OK\r\n", "an old client knows no 1xx"


def test_continue_is_said_when_the_body_is_wanted(served: Served) -> None:
    """Not before, and not where the answer is there without it."""
    expecting = HEAD + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with served.wire() as wire:
        wire.send(b"POST /size" + expecting)
        assert wire.line() == b"HTTP/1.1 100 Continue\r\n"
        wire.line()
        wire.send(b"abc")
        assert wire.answer().body == b"3"
    with served.wire() as wire:
        wire.send(b"POST /refuse" + expecting)
        assert wire.line().startswith(b"HTTP/1.1 413")
    with served.wire() as wire:
        wire.send(b"POST /closed" + expecting)
        assert not select.select([wire.socket], [], [], 0.2)[0]
        wire.reset()


def test_large_part_is_not_interrupted(served: Served) -> None:
    """It is sent in pieces, and another task's message waits for the last of them: in chunks there is no room for it."""
    with served.wire(receive_bytes=65536) as wire:
        body = wire.ask("/together").body
    assert len(body) == 5_000_000 + 20 + 2
    assert body.startswith(b"<" + b"x" * 5_000_000)
    assert body.endswith(b"-" * 20 + b">")


def test_part_that_is_given_up_breaks_the_connection(served: Served) -> None:
    """An application that goes on after it would send into the middle of a chunk."""
    with served.wire(receive_bytes=4096) as wire:
        wire.send(b"GET /impatient" + HEAD + b"\r\n")
        served.until("impatient", 1)
        rest = wire.rest()
    assert len(rest) < 50_000_000
    assert b">" not in rest.replace(b"<", b"")[-100:]


def test_two_receives_at_once_are_an_error_that_is_seen(served: Served) -> None:
    """Silence would let one of them wait for ever."""
    with contextlib.closing(Wire.open(served.address)) as wire:
        wire.send(b"POST /two-receivers" + HEAD + b"Content-Length: 3\r\n\r\n")
        assert wire.answer().status == 500
    assert "two tasks receive" in served.logged("application.failed")[-1]["error"]
