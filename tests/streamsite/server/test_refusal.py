"""The answers that the server gives itself."""

from __future__ import annotations

import json

import pytest

from streaming.api.problems import TITLES
from streamsite.server.refusal import encode_refusal


def parse(answer: bytes) -> tuple[str, dict[str, str], dict[str, object]]:
    """First line, fields and document."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert int(fields["Content-Length"]) == len(body)
    document: dict[str, object] = json.loads(body)
    return first, fields, document


def test_refusal_is_a_whole_problem_document() -> None:
    """Status, type and title agree, nobody keeps it, and the connection ends with it."""
    first, fields, document = parse(encode_refusal(408, "request-timeout", "too slow", b"given-id", b"Server: s\r\n"))
    assert first == "HTTP/1.1 408 Request Timeout"
    assert document == {
        "type": "/problems/request-timeout",
        "title": TITLES["request-timeout"],
        "status": 408,
        "detail": "too slow",
        "request_id": "given-id",
    }
    assert fields["Content-Type"] == "application/problem+json"
    assert (fields["Connection"], fields["Cache-Control"], fields["Server"]) == ("close", "no-store", "s")
    assert fields["Date"]


@pytest.mark.parametrize("given", [b"", b"short", b"with space in it", b"a" * 200, b'"><script>', b"\xff" * 10])
def test_unsafe_request_id_is_replaced(given: bytes) -> None:
    """It stands in a header field and in logs."""
    _, fields, document = parse(encode_refusal(400, "bad-request", "", given, b""))
    assert document["request_id"] == fields["X-Request-ID"] != given.decode("latin-1")
    assert len(fields["X-Request-ID"]) == 36
