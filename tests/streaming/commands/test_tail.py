"""`manage.py tail`: each event once on stdout, safe for a terminal, over broken connections."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from tests.streaming.commands.conftest import Commands
from tests.support.flaky_server import Fault, FlakyServer, Stored, flaky_server


def fill(server: FlakyServer, *, is_closed: bool = True) -> None:
    """A text stream `s` and a JSON stream `j`."""
    server.streams["s"] = Stored("text/plain", [("message", b"line %d\n" % n) for n in range(10)], is_closed=is_closed)
    server.streams["j"] = Stored("application/json", [("tick", b'{"n":%d}' % n) for n in range(3)], is_closed=is_closed)


def append(stream: Stored, *events: bytes) -> None:
    """Append behind the server's back, and wake its readers."""
    stream.events += [("message", event) for event in events]
    stream.changed.set()
    stream.changed = asyncio.Event()


def lines(start: int, end: int) -> bytes:
    """Numbered lines."""
    return b"".join(b"line %d\n" % n for n in range(start, end))


async def test_closed_stream_is_printed_to_its_end(server: FlakyServer, commands: Commands) -> None:
    """An event is a line, and the end of a closed stream ends the command."""
    fill(server)
    assert await commands.run("tail", "s") == (0, lines(0, 10), "")
    assert (await commands.run("tail", "j"))[1] == b'{"n":0}\n{"n":1}\n{"n":2}\n'


async def test_no_follow_ends_at_the_present_end(server: FlakyServer, commands: Commands) -> None:
    """An open stream is printed as far as it goes."""
    fill(server, is_closed=False)
    assert await commands.run("tail", "s", "--no-follow") == (0, lines(0, 10), "")


async def test_json_gives_an_object_a_line(server: FlakyServer, commands: Commands) -> None:
    """Offset, type, time and data, as our own NDJSON has them."""
    fill(server)
    _, out, _ = await commands.run("tail", "j", "--json")
    objects = [json.loads(line) for line in out.splitlines()]
    assert [entry["data"] for entry in objects] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert set(objects[0]) == {"offset", "type", "time", "data"}
    assert objects[0]["type"] == "tick"


async def test_from_and_last_choose_where_to_begin(server: FlakyServer, commands: Commands) -> None:
    """Behind an offset, at the end, or with the last events."""
    fill(server)
    _, out, _ = await commands.run("tail", "s", "--json")
    offset = json.loads(out.splitlines()[6])["offset"]
    assert (await commands.run("tail", "s", "--from", offset))[1] == lines(7, 10)
    assert (await commands.run("tail", "s", "--from", "now"))[1] == b""
    assert (await commands.run("tail", "s", "--last", "2"))[1] == lines(8, 10)


async def test_cut_and_restarted_server_leaves_no_gap_and_no_repetition(
    server: FlakyServer, commands: Commands
) -> None:
    """Cut in the middle and restarted, the server is found again, from the last event on."""
    fill(server, is_closed=False)
    server.faults.append(Fault("GET", cut_after_lines=4))
    process = await commands.start("tail", "s")
    assert process.stdout is not None
    assert await process.stdout.readexactly(len(lines(0, 10))) == lines(0, 10)
    port = await server.stop()
    append(server.streams["s"], b"line 10\n")
    await server.start(port)
    assert await process.stdout.readline() == b"line 10\n"
    append(server.streams["s"], b"line 11\n")
    assert await process.stdout.readline() == b"line 11\n"
    server.streams["s"].is_closed = True
    append(server.streams["s"])
    assert await process.wait() == 0
    assert await process.stdout.read() == b""


async def test_other_server_is_read_by_long_poll(commands: Commands) -> None:
    """A server without our NDJSON is followed by what the protocol has."""
    async with flaky_server(speaks_ndjson=False) as other:
        fill(other, is_closed=False)
        process = await commands.start("tail", "s", "--url", other.url)
        assert process.stdout is not None
        assert await process.stdout.readexactly(len(lines(0, 10))) == lines(0, 10)
        append(other.streams["s"], b"line 10\n")
        assert await process.stdout.readline() == b"line 10\n"
        other.streams["s"].is_closed = True
        append(other.streams["s"])
        assert await process.wait() == 0
        code, out, _ = await commands.run("tail", "j", "--json", "--no-follow", "--url", other.url)
        assert (code, [json.loads(line)["data"]["n"] for line in out.splitlines()]) == (0, [0, 1, 2])


async def test_terminal_escapes_are_shown_and_not_obeyed(server: FlakyServer, commands: Commands) -> None:
    """Escapes come out as text, unless --raw asks for them."""
    evil = "a\x1b]0;owned\x07\rb\x9b2J\u202ec\n".encode()
    server.streams["s"] = Stored("text/plain", [("message", evil)], is_closed=True)
    shown = (await commands.run("tail", "s"))[1]
    assert shown == b"a\\x1b]0;owned\\x07\\x0db\\x9b2J\\u202ec\n"
    as_json = (await commands.run("tail", "s", "--json"))[1]
    assert json.loads(as_json)["data"].encode() == evil
    assert as_json.isascii()
    assert (await commands.run("tail", "s", "--raw"))[1] == evil


async def test_lost_offset_is_explained(server: FlakyServer, commands: Commands) -> None:
    """A 410 says what happened and how to read on."""
    fill(server)
    body = b'{"type":"/problems/offset-gone","detail":"retention removed it","earliest_offset":"0_7"}'
    server.faults.append(Fault("GET", status=410, body=body))
    code, _, err = await commands.run("tail", "s", "--from", "0_1")
    assert code == 1
    assert "retention removed it" in err
    assert "--from 0_7" in err


async def test_missing_stream_exits_with_1(commands: Commands) -> None:
    """There is nothing to wait for."""
    code, out, err = await commands.run("tail", "nope")
    assert (code, out) == (1, b"")
    assert "no such stream" in err


@pytest.mark.parametrize(
    "arguments", [("s", "--last", "0"), ("s", "--from", "now", "--last", "1"), ("s", "--from", "é")]
)
async def test_wrong_use_exits_with_2(commands: Commands, arguments: tuple[str, ...]) -> None:
    """Options that can't be are told from failures by the exit code."""
    assert (await commands.run("tail", *arguments))[0] == 2


async def test_reader_of_the_pipe_that_leaves_ends_the_command_quietly(server: FlakyServer, commands: Commands) -> None:
    """As with `| head -1`: no traceback, no failure, also when nothing more comes."""
    fill(server, is_closed=False)
    process = await asyncio.create_subprocess_shell(
        f'{" ".join(commands.argv("tail", "s"))} | head -1; echo "${{PIPESTATUS[0]}}"',
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=commands.root,
        env=commands.environ(),
        executable="/bin/bash",
    )
    assert await process.communicate() == (b"line 0\n0\n", b"")


async def test_interrupt_ends_the_command_quietly(server: FlakyServer, commands: Commands) -> None:
    """Ctrl-C is how a tail is ended: at once, exit code 0, not a word."""
    fill(server, is_closed=False)
    process = await commands.start("tail", "s")
    assert process.stdout is not None
    await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
