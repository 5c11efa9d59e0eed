"""`manage.py publish`: each line once, as soon as it comes, whatever the server does."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.streaming.commands.conftest import Commands
from tests.support.flaky_server import Fault, FlakyServer, Stored

DROPPED_REPLY = Fault("POST", takes=True)
DROPPED_REQUEST = Fault("POST")


async def until(condition: Callable[[], object]) -> None:
    """Wait for something in the server; the test's own time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.01)


async def until_published(server: FlakyServer, text: bytes) -> None:
    """Wait until the stream `s` holds this, event by event joined."""
    await until(lambda: "s" in server.streams and b"".join(server.streams["s"].data) == text)


def lines(count: int) -> bytes:
    """Numbered lines."""
    return b"".join(b"line %d\n" % number for number in range(count))


async def test_stdin_is_published_byte_for_byte(server: FlakyServer, commands: Commands) -> None:
    """A line is an event and keeps its end, so the events joined are the input."""
    text = b"one\r\n\n two\t\n\xe2\x80\xa8three\nlast without end"
    code, out, err = await commands.run("publish", "host/x", stdin=text)
    assert (code, out) == (0, b"")
    assert err == f"publish: host/x: see it at {server.url}/streams/host/x\n"
    assert server.streams["host/x"].content_type == "text/plain"
    assert b"".join(server.streams["host/x"].data) == text
    assert len(server.streams["host/x"].data) == 5


async def test_bytes_that_are_not_utf8_are_replaced_in_text_and_kept_elsewhere(
    server: FlakyServer, commands: Commands
) -> None:
    """A stray byte does not end a live source: it is replaced and mentioned once; a binary stream keeps it."""
    text = b"a\xff\nb\xfe\n"
    code, _, err = await commands.run("publish", "s", stdin=text)
    assert (code, server.streams["s"].data) == (0, ["a\ufffd\n".encode(), "b\ufffd\n".encode()])
    assert err.count("not UTF-8") == 1
    code, _, err = await commands.run("publish", "b", "--content-type", "application/octet-stream", stdin=text)
    assert (code, b"".join(server.streams["b"].data)) == (0, text)
    assert "not UTF-8" not in err


async def test_chomp_leaves_line_ends_and_empty_lines_out(server: FlakyServer, commands: Commands) -> None:
    """With --chomp the event is the text alone; nothing is left of an empty line."""
    code, _, _ = await commands.run("publish", "s", "--chomp", stdin=b"one\r\n\ntwo\n")
    assert (code, server.streams["s"].data) == (0, [b"one", b"two"])


async def test_line_is_sent_while_the_pipe_stays_open(server: FlakyServer, commands: Commands) -> None:
    """A live source needs no end and no full buffer."""
    process = await commands.start("publish", "s")
    assert process.stdin is not None
    for number in range(3):
        process.stdin.write(b"line %d\n" % number)
        await process.stdin.drain()
        await until_published(server, lines(number + 1))
    process.stdin.close()
    assert await process.wait() == 0


async def test_every_line_is_there_once_over_all_faults(server: FlakyServer, commands: Commands) -> None:
    """Dropped requests, dropped replies, unknown outcomes and a restart neither lose nor double a line."""
    process = await commands.start("publish", "s", "-")
    assert process.stdin is not None
    unknown = Fault("POST", takes=True, status=503, headers={"retry-after": "0"})
    for number in range(40):
        process.stdin.write(b"line %d\n" % number)
        if number % 5 == 0:
            await process.stdin.drain()
            await until_published(server, lines(number + 1))
            server.faults.append([DROPPED_REPLY, DROPPED_REQUEST, unknown][number % 3])
        if number == 20:
            await server.start(await server.stop())
    process.stdin.close()
    assert await process.wait() == 0
    assert b"".join(server.streams["s"].data) == lines(40)


async def test_server_that_is_not_there_yet_is_waited_for(server: FlakyServer, commands: Commands) -> None:
    """Started before the site, publish says that it waits, and then publishes."""
    port = await server.stop()
    process = await commands.start("publish", "s")
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(lines(3))
    process.stdin.close()
    assert b"see it at" in await process.stderr.readline()
    assert b"waiting for the server: can't connect" in await process.stderr.readline()
    await server.start(port)
    assert await process.stderr.readline() == b"publish: the server is back\n"
    assert await process.wait() == 0
    assert b"".join(server.streams["s"].data) == lines(3)


async def test_server_that_stays_away_is_given_up_with_timeout(server: FlakyServer, commands: Commands) -> None:
    """With --timeout the command fails instead of waiting for ever."""
    await server.stop()
    code, _, err = await commands.run("publish", "s", "--timeout", "0.2", stdin=b"x\n")
    assert code == 1
    assert "gave up after 0.2 s: can't connect" in err


async def test_ndjson_is_published_as_values(server: FlakyServer, commands: Commands) -> None:
    """Each line is a value of a JSON stream, batched; arrays stay whole, empty lines are left out."""
    code, _, _ = await commands.run("publish", "j", "--ndjson", "--type", "tick", stdin=b'{"a":1}\n\n[1,2]\n"x"')
    assert (code, server.streams["j"].content_type) == (0, "application/json")
    assert server.streams["j"].events == [("tick", b'{"a":1}'), ("tick", b"[1,2]"), ("tick", b'"x"')]


async def test_bad_json_is_named_and_what_stands_before_is_published(server: FlakyServer, commands: Commands) -> None:
    """The error names the line; the good lines before it are in the stream."""
    code, _, err = await commands.run("publish", "j", "--json", stdin=b"1\n2\n{oops\n4\n")
    assert (code, server.streams["j"].data) == (1, [b"1", b"2"])
    assert "line 3 is not a JSON value" in err


async def test_line_without_end_is_bounded(server: FlakyServer, commands: Commands) -> None:
    """A line over the bound ends the command; memory does not grow with it."""
    code, _, err = await commands.run("publish", "s", "--max-line-bytes", "100", stdin=b"ok\n" + b"x" * 200_000)
    assert (code, server.streams["s"].data) == (1, [b"ok\n"])
    assert "line 2: a line has more than 100 bytes" in err


@pytest.mark.parametrize(
    ("stored", "arguments", "words"),
    [
        (None, ("--no-create",), "no such stream"),
        (Stored("text/plain", is_closed=True), (), "is closed"),
        (Stored("application/json"), (), "--ndjson"),
        (Stored("text/plain"), ("--ndjson",), "without --ndjson"),
        (Stored("text/plain"), ("--content-type", "text/html"), "not text/html"),
    ],
)
async def test_stream_that_cannot_take_the_input_is_said(
    server: FlakyServer, commands: Commands, stored: Stored | None, arguments: tuple[str, ...], words: str
) -> None:
    """Nothing is published into a stream of another kind."""
    if stored is not None:
        server.streams["s"] = stored
    code, _, err = await commands.run("publish", "s", *arguments, stdin=b"1\n")
    assert code == 1
    assert words in err
    assert not any(request.method == "POST" for request in server.requests)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a//b",),
        ("s", "--url", "ftp://h"),
        ("s", "--rate", "0"),
        ("s", "--follow"),
        ("s", "--key", "a\nb"),
        ("s", "--producer", "é"),
    ],
)
async def test_wrong_use_exits_with_2(commands: Commands, arguments: tuple[str, ...]) -> None:
    """Options that can't be are told from failures by the exit code."""
    code, _, _ = await commands.run("publish", *arguments)
    assert code == 2


async def test_missing_file_exits_with_1(server: FlakyServer, commands: Commands) -> None:
    """An input that can't be read is a failure, and no stream is made for it."""
    code, _, err = await commands.run("publish", "s", "/nowhere/at/all")
    assert (code, server.streams) == (1, {})
    assert "/nowhere/at/all" in err


async def test_close_closes_at_the_end(server: FlakyServer, commands: Commands) -> None:
    """--close makes the end of the input the end of the stream, also over a lost reply."""
    server.faults.append(DROPPED_REPLY)
    code, _, _ = await commands.run("publish", "s", "--close", stdin=b"1\n")
    assert (code, server.streams["s"].data, server.streams["s"].is_closed) == (0, [b"1\n"], True)


async def test_rate_spreads_the_events(server: FlakyServer, commands: Commands) -> None:
    """--rate 20 takes at least half a second for eleven events."""
    process = await commands.start("publish", "s", "--rate", "20")
    assert process.stdin is not None
    process.stdin.write(lines(11))
    process.stdin.close()
    await until(lambda: "s" in server.streams and server.streams["s"].data)
    began = asyncio.get_running_loop().time()
    assert await process.wait() == 0
    assert asyncio.get_running_loop().time() - began > 0.4
    assert b"".join(server.streams["s"].data) == lines(11)


async def test_producer_id_and_key_are_sent(server: FlakyServer, commands: Commands) -> None:
    """The given id is the producer's; the key comes from the environment and shows nowhere."""
    code, _, err = await commands.run(
        "publish", "s", "--producer", "me", stdin=b"1\n", env={"STREAMSITE_KEY": "s3cret"}
    )
    assert (code, list(server.streams["s"].producers)) == (0, ["me"])
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer s3cret"}
    assert "s3cret" not in err


async def test_environment_of_the_durable_streams_command_line_is_read(server: FlakyServer, commands: Commands) -> None:
    """STREAM_URL with its path and STREAM_AUTH with its scheme work as they do there."""
    env = {"STREAMSITE_URL": "", "STREAM_URL": f"{server.url}/v1/stream", "STREAM_AUTH": "Basic abc"}
    code, _, _ = await commands.run("publish", "s", stdin=b"1\n", env=env)
    assert (code, server.streams["s"].data) == (0, [b"1\n"])
    assert server.requests[0].headers["authorization"] == "Basic abc"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupt_sends_what_was_read_and_ends(server: FlakyServer, commands: Commands, number: int) -> None:
    """Ctrl-C on a live pipe: what came is in the stream, the command is gone at once, and it is no failure."""
    process = await commands.start("publish", "s")
    assert process.stdin is not None
    process.stdin.write(lines(100))
    await process.stdin.drain()
    await until(lambda: "s" in server.streams and server.streams["s"].data)
    began = asyncio.get_running_loop().time()
    process.send_signal(number)
    assert await process.wait() == 0
    assert asyncio.get_running_loop().time() - began < 1
    data = server.streams["s"].data
    assert b"".join(data) == lines(len(data))


async def test_interrupt_while_the_server_is_away_says_what_is_missing(server: FlakyServer, commands: Commands) -> None:
    """What could not be sent within the second is counted, and the exit code says so."""
    process = await commands.start("publish", "s")
    assert process.stdin is not None
    process.stdin.write(b"1\n")
    await until(lambda: "s" in server.streams and server.streams["s"].data)
    await server.stop()
    process.stdin.write(b"2\n3\n")
    assert process.stderr is not None
    await process.stderr.readuntil(b"waiting for the server")
    began = asyncio.get_running_loop().time()
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 1
    assert asyncio.get_running_loop().time() - began < 1.5
    assert b"interrupted: 2 events are not acknowledged" in await process.stderr.read()


async def test_followed_file_is_published_over_truncation_and_rotation(
    server: FlakyServer, commands: Commands, tmp_path: Path
) -> None:
    """Like tail -F: what is added comes, a file cut short begins anew, a replaced one is read to its end first."""
    log = tmp_path / "log"
    log.write_bytes(b"1\n")
    await commands.start("publish", "s", str(log), "--follow")

    await until_published(server, b"1\n")
    with log.open("ab") as out:
        out.write(b"2\npart")
    await until_published(server, b"1\n2\n")
    with log.open("ab") as out:
        out.write(b"ial\n")
    await until_published(server, b"1\n2\npartial\n")
    log.write_bytes(b"3\n")
    await until_published(server, b"1\n2\npartial\n3\n")
    with log.open("ab") as out:
        log.rename(tmp_path / "log.1")
        out.write(b"4\n")
        out.flush()
        log.write_bytes(b"5\n")
    await until_published(server, b"1\n2\npartial\n3\n4\n5\n")


async def test_terminal_shows_progress(server: FlakyServer, commands: Commands, tmp_path: Path) -> None:
    """On a terminal a line counts events; with NO_COLOR there is no colour in it."""
    source = tmp_path / "lines"
    source.write_bytes(lines(50))
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *commands.argv("publish", "s", str(source), "--rate", "100"),
        stderr=theirs,
        env=commands.environ({"NO_COLOR": "1", "TERM": "xterm"}),
        cwd=commands.root,
    )
    os.close(theirs)
    shown = b""
    loop = asyncio.get_running_loop()
    while True:
        try:
            chunk = await loop.run_in_executor(None, os.read, ours, 4096)
        except OSError:
            break  # the terminal is closed at the other end
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    assert await process.wait() == 0
    assert b"see it at" in shown
    assert b"50 events" in shown
    assert b"\x1b[3" not in shown
