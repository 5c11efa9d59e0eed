"""A small ASGI application, served by our server or by stock daphne, for tests that look at the server alone.

    python -m tests.streamsite.server.asgi_app [--tls CERT KEY] [--stock] [--limits JSON] [--loop uvloop]

It takes a free port and prints it on a line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from streamsite.types import Message, Receive, Scope, Send

__all__ = ["application"]

_TEXT = [(b"content-type", b"text/plain")]
_state = {"sent": 0, "left": 0, "running": 0, "begun": 0}


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def _answer(send: Send, body: bytes, *, status: int = 200, fields: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*_TEXT, *fields]})
    await send({"type": "http.response.body", "body": body})


async def _scope(scope: Scope, receive: Receive, send: Send) -> None:
    seen = {name: value for name, value in scope.items() if name not in {"state", "extensions"}}
    seen["extensions"] = sorted(scope.get("extensions", {}))
    await _answer(send, json.dumps(seen, default=lambda value: value.decode("latin-1")).encode())


async def _count(scope: Scope, receive: Receive, send: Send) -> None:
    """Bytes of the body, and in how many parts they came."""
    size = parts = 0
    while (message := await receive())["type"] == "http.request":
        size += len(message["body"])
        parts += 1
        if not message["more_body"]:
            break
    await _answer(send, f"{size} {parts}".encode())


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    """The body, part by part as it comes."""
    await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
    is_more = True
    while is_more:
        message = await receive()
        is_more = message["type"] == "http.request" and message["more_body"]
        await send({"type": "http.response.body", "body": message.get("body", b""), "more_body": is_more})


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    """?n= parts of ?size= bytes; `sent` counts those that were taken."""
    query = parse_qs(scope["query_string"].decode())
    size = int(query["size"][0])
    await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
    for _ in range(int(query["n"][0])):
        await send({"type": "http.response.body", "body": b"x" * size, "more_body": True})  # each of its own
        _state["sent"] += 1
    await send({"type": "http.response.body", "body": b""})


async def _wait(scope: Scope, receive: Receive, send: Send) -> None:
    """An answer that lasts until the client leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    message: Message = {}
    while message.get("type") != "http.disconnect":
        message = await receive()
    _state["left"] += 1


async def _leave(scope: Scope, receive: Receive, send: Send) -> None:
    """Wait, without a word, until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    _state["left"] += 1


async def _fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise ValueError("wanted")


async def _fail_late(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _TEXT})
    await send({"type": "http.response.body", "body": b"first", "more_body": True})
    await asyncio.sleep(0.05)
    raise ValueError("wanted")


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    await _answer(send, b"too large", status=413)


async def _ignore(scope: Scope, receive: Receive, send: Send) -> None:
    """Leave the body where it is, for a long time."""
    await asyncio.sleep(60)


async def _informed(scope: Scope, receive: Receive, send: Send) -> None:
    """A hint before the answer, trailers behind it."""
    await send({"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]})
    fields = [*_TEXT, (b"trailer", b"x-sum")]
    await send({"type": "http.response.start", "status": 200, "headers": fields, "trailers": True})
    await send({"type": "http.response.body", "body": b"summed"})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"6")]})


async def _connection_fields(scope: Scope, receive: Receive, send: Send) -> None:
    """What an application should not say, and may."""
    fields = [(b"Connection", b"keep-alive"), (b"Transfer-Encoding", b"chunked"), (b"X-Name", b"Value")]
    await _answer(send, b"ok", fields=fields)


async def _line_end(scope: Scope, receive: Receive, send: Send) -> None:
    await _answer(send, b"ok", fields=[(b"x-a", b"b\r\nset-cookie: c=d")])


async def _state_now(scope: Scope, receive: Receive, send: Send) -> None:
    await _answer(send, json.dumps({**_state, "rss": _rss_bytes()}).encode())


async def _greet(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket that says hello."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": "hello"})
    await send({"type": "websocket.close"})


_PATHS = {
    "/scope": _scope,
    "/count": _count,
    "/echo": _echo,
    "/stream": _stream,
    "/wait": _wait,
    "/leave": _leave,
    "/fail": _fail,
    "/fail-late": _fail_late,
    "/refuse": _refuse,
    "/ignore": _ignore,
    "/informed": _informed,
    "/connection-fields": _connection_fields,
    "/line-end": _line_end,
    "/state": _state_now,
}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """What a path says above; any other path is `hello`."""
    if scope["type"] == "websocket":
        await _greet(scope, receive, send)
        return
    if scope["type"] != "http":
        raise ValueError("no lifespan here")
    _state["begun"] += 1
    _state["running"] += 1
    try:
        if (view := _PATHS.get(scope["path"])) is not None:
            await view(scope, receive, send)
        else:
            await _answer(send, b"hello")
    finally:
        _state["running"] -= 1


def _serve(options: argparse.Namespace, listener: socket.socket) -> None:
    from streamsite.server.loop import choose_loop

    choose_loop(options.loop)
    from streamsite.server.limits import Limits
    from streamsite.server.server import Server
    from streamsite.server.tls import read_pair

    pair = read_pair(Path(options.tls[0]), Path(options.tls[1])) if options.tls else None
    Server(
        application,
        listeners=[listener],
        limits=Limits(**json.loads(options.limits)),
        tls=pair.to_options() if pair else None,
        grace_s=15.0,
        on_ready=lambda: print(listener_port, flush=True),  # noqa: T201 - whoever started us reads it
    ).run()


def _serve_stock(options: argparse.Namespace, listener: socket.socket) -> None:
    from daphne.server import Server

    listener.close()
    endpoint = f"tcp:port={listener_port}:interface=127.0.0.1"
    if options.tls:
        endpoint = f"ssl:port={listener_port}:interface=127.0.0.1:certKey={options.tls[0]}:privateKey={options.tls[1]}"
    Server(
        application,
        endpoints=[endpoint],
        verbosity=0,
        ready_callable=lambda: print(listener_port, flush=True),  # noqa: T201 - whoever started us reads it
    ).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--stock", action="store_true", help="daphne as it is")
    parser.add_argument("--limits", default="{}", help="fields of Limits")
    parser.add_argument("--loop", default="auto")
    given = parser.parse_args()
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener_port = listening.getsockname()[1]
    (_serve_stock if given.stock else _serve)(given, listening)
    sys.exit(0)
