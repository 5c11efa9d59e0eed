"""What Django's full chain gets to see."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.conf import settings

from streamsite.full_chain import FullChain, check_path
from streamsite.types import Message, Receive, Scope, Send


class Django:
    """Reads the whole body first, as Django's handler does, and answers with it."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


class Answer:
    """What came of one request: to the client, and from it."""

    def __init__(self, sent: list[Any], left: list[Message], django: Django) -> None:
        self.status = sent[0]["status"] if sent else None
        self.headers = {name.lower(): value for name, value in sent[0]["headers"]} if sent else {}
        self.body = sent[1]["body"] if sent else b""
        self.left = len(left)
        self.bodies = django.bodies


async def ask(*messages: Message, path: bytes = b"/admin/", length: int | None = None, version: str = "1.1") -> Answer:
    """One request through the chain."""
    sent: list[Any] = []
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "http_version": version,
        "method": "POST",
        "path": "/admin/",
        "raw_path": path,
        "query_string": b"",
        "headers": [(b"x-request-id", b"given-by-client")],
    }
    if length is not None:
        scope["headers"].append((b"content-length", b"%d" % length))
    django = Django()
    await FullChain(django)(scope, receive, send)
    return Answer(sent, left, django)


@pytest.fixture(autouse=True)
def _limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body of ten bytes at most."""
    monkeypatch.setitem(settings.STREAMING, "MAX_BODY_BYTES", 10)


def part(body: bytes, *, more: bool = True) -> Message:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more}


async def test_body_within_the_limit_passes() -> None:
    """Django gets it as it came."""
    got = await ask(part(b"01234"), part(b"56789", more=False))
    assert (got.status, got.bodies) == (200, [b"0123456789"])


async def test_announced_body_over_the_limit_is_not_received() -> None:
    """413 costs nothing, and no `100 Continue` asks for the body."""
    got = await ask(part(b"0"), length=11)
    assert (got.status, got.left, got.bodies) == (413, 1, [])
    assert got.headers[b"connection"] == b"close"
    assert json.loads(got.body)["request_id"] == "given-by-client"
    assert got.headers[b"x-request-id"] == b"given-by-client"


async def test_body_that_passes_the_limit_is_received_no_further() -> None:
    """The part that passes it is the last that is taken, and no view runs."""
    got = await ask(part(b"01234"), part(b"567890"), part(b"x"))
    assert (got.status, got.left, got.bodies) == (413, 1, [])


async def test_http2_gets_no_connection_field() -> None:
    """It would be malformed there (RFC 9113, 8.2.2)."""
    assert b"connection" not in (await ask(length=11, version="2")).headers


async def test_client_that_leaves_gets_no_answer() -> None:
    """It did not send too much, it went."""
    assert (await ask(part(b"01234"), {"type": "http.disconnect"})).status is None


@pytest.mark.parametrize(
    "path",
    [
        b"/a%zz", b"/a%", b"/a%1", b"/a%+1", b"/a%00", b"/a%0d%0a", b"/a%7f", b"/a%c2%85", b"/a%ff", b"/a%c0%af", b"/a%ed%a0%80",
        b"/../a", b"/./a", b"/a/..", b"/%2e%2e/a", b"/.%2E/a", b"/a%2f..%2fb",
    ],
)  # fmt: skip
async def test_path_that_could_be_read_twice_is_refused(path: bytes) -> None:
    """400, with a problem document, before Django has decoded anything."""
    got = await ask(part(b"", more=False), path=path)
    assert (got.status, got.bodies) == (400, [])
    assert json.loads(got.body)["type"] == "/problems/bad-request"


@pytest.mark.parametrize(
    "path", [b"/", b"/admin/", b"/streams/a.b/..c", b"/streams/%C3%A4%20b", b"/a%25zz", b"/a...", b"//a"]
)
def test_path_that_has_one_reading_passes(path: bytes) -> None:
    """Names may have dots, spaces and letters of any script."""
    check_path(path)
