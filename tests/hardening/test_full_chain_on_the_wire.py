"""The admin's side of the site under hostile requests, served by our server and by uvicorn."""

from __future__ import annotations

import contextlib
import http.client
from collections.abc import Iterator

import pytest

from tests.streaming.api.raw_http import Answer, ask, opened, read_answer, request_bytes
from tests.streaming.api.servers import ServedBy
from tests.support.site import Site

pytestmark = pytest.mark.slow

MAX_BODY_BYTES = 200_000
LOGIN = b"/admin/login/"


@pytest.fixture(scope="module", params=["serve", "uvicorn"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site under each."""
    env = {"STREAMSITE_MAX_BODY_BYTES": str(MAX_BODY_BYTES), "STREAMSITE_MAX_EVENT_BYTES": "100000"}
    with ServedBy(request.param, tmp_path_factory.mktemp(request.param), env=env) as running:
        yield running


def check_refusal(answer: Answer, status: int, slug: str) -> None:
    """A problem document with the request's id."""
    assert (answer.status, answer.slug) == (status, slug)
    assert answer.problem["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("path", [LOGIN, b"/v1/stream/a"])
def test_announced_body_over_the_limit_is_refused_before_it_is_sent(served: Site, path: bytes) -> None:
    """413 and the end of the connection, no `100 Continue`: nothing of the body is wanted."""
    with opened(served.address) as connection:
        fields = [("Content-Length", b"%d" % (MAX_BODY_BYTES + 1)), ("Expect", b"100-continue")]
        fields.append(("Content-Type", b"application/json"))
        connection.sendall(request_bytes("POST" if path == LOGIN else "PUT", path, fields))
        answer = read_answer(connection, "POST")
        check_refusal(answer, 413, "too-large")
        assert answer.headers["Connection"] == "close"
        assert connection.recv(1) == b""


@pytest.mark.parametrize("path", [LOGIN, b"/v1/stream/a"])
def test_chunked_body_over_the_limit_is_refused_while_it_arrives(served: Site, path: bytes) -> None:
    """The answer comes while the client would go on for ever."""
    with opened(served.address) as connection:
        fields = [("Transfer-Encoding", b"chunked"), ("Content-Type", b"application/json")]
        connection.sendall(request_bytes("POST" if path == LOGIN else "PUT", path, fields))
        sent = 0
        chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            while sent <= MAX_BODY_BYTES:
                connection.sendall(chunk)
                sent += 0x4000
        answer = read_answer(connection, "POST")
        check_refusal(answer, 413, "too-large")
        assert answer.headers["Connection"] == "close"


def test_body_within_the_limit_reaches_the_view(served: Site) -> None:
    """Django's own check answers: the form has no token."""
    fields = [("Content-Type", b"application/x-www-form-urlencoded")]
    body = b"username=a&password=" + b"b" * (MAX_BODY_BYTES - 100)
    assert ask(served.address, "POST", LOGIN, fields, body).status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/admin/%zz",
        "/admin/a%",
        "/admin/%00",
        "/admin/%0d%0a",
        "/admin/%ff",
        "/admin/%c0%af",
        "/admin/%2e%2e/",
        "/admin/../x",
    ],
)
def test_path_that_could_be_read_twice_is_refused(served: Site, path: str) -> None:
    """400 with a problem document; nothing decodes or normalises it first."""
    check_refusal(ask(served.address, "GET", path), 400, "bad-request")


def test_refusals_are_counted_and_logged_as_requests(served: Site) -> None:
    """They go through the middleware: whoever looks for the request id finds it."""
    before = served.metrics().total("stream_http_requests_total", status="400")
    answer = ask(served.address, "GET", "/admin/%00", [("X-Request-ID", b"looked-for-later")])
    assert answer.problem["request_id"] == "looked-for-later"
    assert served.metrics().total("stream_http_requests_total", status="400") == before + 1
    assert [line for line in served.log_lines() if line.get("request_id") == "looked-for-later"]


def test_head_and_options_start_no_reader(served: Site) -> None:
    """On live routes they are answered at once, and nothing is left behind for them."""
    path = "/v1/stream/hardening"
    assert served.request("PUT", path, headers={"Content-Type": "application/json"}).is_success
    for method in ("HEAD", "OPTIONS"):
        for query in ("?offset=-1&live=sse", "?live=ndjson&tail=1", "?offset=now&live=long-poll"):
            answer = ask(served.address, method, path + query)
            assert answer.status in {http.client.OK, http.client.NO_CONTENT}
            assert answer.body == b""
    assert served.metrics().total("stream_readers") == 0
    conditional = served.get(path, headers={"Range": "bytes=0-1", "If-None-Match": "*"})
    assert conditional.status_code in {http.client.OK, http.client.NOT_MODIFIED}
