"""`manage.py streams`: list, create, describe, close, remove, export and import."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.streaming.commands.conftest import Commands
from tests.support.flaky_server import Fault, FlakyServer, Stored


def names_in(folder: Path) -> list[str]:
    """The files of a folder."""
    return [path.name for path in folder.iterdir()]


async def test_create_show_close_and_list(server: FlakyServer, commands: Commands) -> None:
    """The life of a stream, in words and as JSON."""
    assert (await commands.run("streams", "create", "a/b", "--content-type", "text/plain"))[1].startswith(
        b"created a/b"
    )
    assert (await commands.run("streams", "create", "a/b", "--content-type", "text/plain"))[1].startswith(b"exists")
    assert (await commands.run("streams", "create", "a/b"))[0] == 1
    assert (await commands.run("streams", "close", "a/b"))[0] == 0
    _, out, _ = await commands.run("streams", "show", "a/b", "--json")
    assert json.loads(out) == {
        "name": "a/b",
        "content_type": "text/plain",
        "tail_offset": f"{1:016d}_{0:016d}",
        "closed": True,
        "events": 0,
        "bytes": 0,
    }
    assert f"{server.url}/streams/a/b".encode() in (await commands.run("streams", "show", "a/b"))[1]
    assert (await commands.run("streams", "ls", "x"))[1] == b""
    assert (await commands.run("streams", "ls", "a/"))[1].split(b"\t")[:2] == [b"a/b", b"text/plain"]
    assert json.loads((await commands.run("streams", "ls", "--json"))[1])["name"] == "a/b"


async def test_settings_of_a_new_stream_are_sent(server: FlakyServer, commands: Commands) -> None:
    """Time to live, retention and closure go into the header fields that the protocol and the site have for them."""
    await commands.run("streams", "create", "s", "--ttl", "60", "--retention", "age=60, count=5", "--closed")
    headers = server.requests[-1].headers
    assert (headers["stream-ttl"], headers["stream-retention"]) == ("60", "age=60, count=5")
    assert headers["stream-closed"] == "true"


async def test_removing_needs_a_yes(server: FlakyServer, commands: Commands) -> None:
    """Without a terminal to ask on, only --yes removes; a prefix removes all below it, an empty one nothing."""
    for name in ("a", "b", "p/1", "p/2"):
        server.streams[name] = Stored("text/plain")
    assert (await commands.run("streams", "rm", "a"))[0] == 2
    assert (await commands.run("streams", "rm", "--prefix", "", "--yes"))[0] == 2
    assert (await commands.run("streams", "rm", "--yes"))[0] == 2
    assert set(server.streams) == {"a", "b", "p/1", "p/2"}
    assert (await commands.run("streams", "rm", "a", "b", "--yes"))[:2] == (0, b"removed a\nremoved b\n")
    assert (await commands.run("streams", "rm", "--prefix", "p/", "--yes"))[1] == b"removed 2 streams\n"
    assert server.streams == {}
    assert (await commands.run("streams", "rm", "a", "--yes"))[0] == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_export_comes_back_as_it_was(
    server: FlakyServer, commands: Commands, tmp_path: Path, content_type: str
) -> None:
    """Data, types and the closed end survive the way through a file, over broken connections both ways, once each."""
    events = [("tick" if n % 3 else "message", b'"line %d"' % n) for n in range(250)]
    server.streams["s"] = Stored(content_type, list(events), is_closed=True)
    server.faults.append(Fault("GET", cut_after_lines=40))
    file = tmp_path / "s.ndjson"
    code, out, err = await commands.run("streams", "export", "s", str(file))
    assert (code, out) == (0, b"")
    assert "250 events of s" in err
    assert names_in(tmp_path) == ["s.ndjson"]
    server.faults.extend([Fault("POST", takes=True), Fault("POST")])
    code, _, err = await commands.run("streams", "import", "t", str(file))
    assert (code, server.streams["t"].events) == (0, events)
    assert server.streams["t"].content_type == content_type
    assert server.streams["t"].is_closed


async def test_import_refuses_what_would_double_or_mix(server: FlakyServer, commands: Commands) -> None:
    """A stream that holds events is only added to when asked; another kind of stream never."""
    server.streams["s"] = Stored("text/plain", [("message", b"1")])
    file = (await commands.run("streams", "export", "s"))[1]
    assert (await commands.run("streams", "import", "s", stdin=file))[0] == 1
    assert (await commands.run("streams", "import", "s", "--append", stdin=file))[0] == 0
    assert server.streams["s"].data == [b"1", b"1"]
    server.streams["j"] = Stored("application/json")
    assert (await commands.run("streams", "import", "j", stdin=file))[0] == 1


async def test_import_names_the_bad_line(commands: Commands, server: FlakyServer) -> None:
    """A file that is no export is refused at the line that shows it."""
    code, _, err = await commands.run("streams", "import", "s", stdin=b'{"data":"x"}\n')
    assert code == 1
    assert "--content-type" in err
    file = b'{"stream":"s","content_type":"text/plain"}\n{"data":"1"}\n{"data":'
    code, _, err = await commands.run("streams", "import", "s", stdin=file)
    assert code == 1
    assert "line 3" in err


async def test_server_without_a_list_says_so(server: FlakyServer, commands: Commands) -> None:
    """The list is an extension; without it the command fails in words."""
    server.faults.append(Fault("GET", status=404))
    code, _, err = await commands.run("streams", "ls")
    assert code == 1
    assert "extension" in err


async def test_site_that_is_away_is_a_failure(server: FlakyServer, commands: Commands) -> None:
    """Managing commands do not wait for a site."""
    await server.stop()
    code, _, err = await commands.run("streams", "show", "s")
    assert code == 1
    assert "can't connect" in err
