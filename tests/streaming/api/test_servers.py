"""The same reading and appending under our serve, plain daphne and uvicorn: nothing of it is one server's gift."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.streaming.api.live_reader import lines, sse
from tests.streaming.api.raw_http import ask
from tests.streaming.api.servers import SERVERS, ServedBy
from tests.support.deadlines import eventually
from tests.support.redis_server import free_port
from tests.support.site import Site

JSON = {"Content-Type": "application/json"}
MAX_BODY_BYTES = 65536


@pytest.fixture(scope="module", params=SERVERS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site under each server in turn."""
    env = {
        "STREAMSITE_HEARTBEAT_S": "0.3",
        "STREAMSITE_LONG_POLL_S": "5",
        "STREAMSITE_MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "STREAMSITE_MAX_EVENT_BYTES": str(MAX_BODY_BYTES),
    }
    with ServedBy(request.param, tmp_path_factory.mktemp(request.param), env=env) as running:
        yield running


@pytest.fixture
def path(served: Site) -> str:
    """A stream of the test's own with two events."""
    path = f"/v1/stream/servers/{secrets.token_hex(6)}"
    assert served.request("PUT", path, headers=JSON, content=b"[1,2]").status_code == 201
    return path


def readers(site: Site) -> float:
    """How many live readers the site counts."""
    return site.metrics().total("stream_readers")


def test_append_and_catch_up(served: Site, path: str) -> None:
    """What is acknowledged is read, a page at a time, and a duplicate is known."""
    producer = {**JSON, "Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
    first = served.request("POST", path, headers=producer, content=b"3")
    again = served.request("POST", path, headers=producer, content=b"3")
    assert (first.status_code, again.status_code) == (200, 204)
    assert again.headers["Stream-Next-Offset"] == first.headers["Stream-Next-Offset"]
    assert served.get(path).json() == [1, 2, 3]
    assert served.get(path, headers={"Accept": "application/x-ndjson"}).content.count(b"\n") == 3
    assert (
        served.get("/v1/streams", params={"prefix": path.removeprefix("/v1/stream/")}).json()["streams"][0]["events"]
        == 3
    )


def test_live_forms_deliver_while_the_answer_is_open(served: Site, path: str) -> None:
    """Each event reaches a reader before the next is appended: nothing waits for a buffer to fill."""
    with (
        sse(served, path) as native,
        sse(served, f"{path}?live=sse&offset=now") as protocol,
        lines(served, f"{path}?live=ndjson&tail=1") as ndjson,
    ):
        native.take(2)
        protocol.take(1)
        ndjson.take(1)
        for count in range(1, 4):
            assert served.request("POST", path, headers=JSON, content=b"%d" % (count + 2)).status_code == 204
            assert native.take(2 + count)[-1].data == str(count + 2)
            assert protocol.take(1 + 2 * count)[-2].data == f"[{count + 2}]"
            assert ndjson.take(1 + count)[-1]["data"] == count + 2
        native.until(lambda: native.parser.comments)


def test_long_poll_waits_for_an_event(served: Site, path: str) -> None:
    """The answer comes with the event."""
    with ThreadPoolExecutor(1) as pool:
        before = readers(served)
        polling = pool.submit(served.get, f"{path}?offset=now&live=long-poll")
        eventually(lambda: readers(served) > before, 2, "the poll waits")
        assert served.request("POST", path, headers=JSON, content=b"9").status_code == 204
        assert polling.result().json() == [9]


@pytest.mark.parametrize("query", ["", "?live=sse&offset=-1", "?live=ndjson"], ids=["native", "sse", "ndjson"])
def test_disconnect_ends_the_reader(served: Site, path: str, query: str) -> None:
    """Nothing goes on for a client that left: the gauge is back, long before anything else is sent."""
    eventually(lambda: readers(served) == 0, 2, "the readers of other tests have ended")
    with served.stream(path + query, headers={"Accept": "text/event-stream"}) as response:
        chunks = response.iter_raw()  # held, or its end would close the connection
        next(chunks)
        assert readers(served) == 1
    eventually(lambda: readers(served) == 0, 2, "the reader has ended")


def test_raw_names_and_refusals_are_the_same(served: Site, path: str) -> None:
    """Percent signs reach the one grammar on every server."""
    for name, status in (("a%2Fb", 400), ("a/%2e%2e/b", 400), ("a%00", 400), ("a%ff", 400), ("caf%C3%A9/x", 404)):
        answer = ask(served.address, "GET", f"/v1/stream/{name}")
        assert (answer.status, bool(answer.problem["request_id"])) == (status, True)
    assert ask(served.address, "HEAD", path).status == 200
    assert ask(served.address, "OPTIONS", path).status == 204


def test_body_over_the_limit_is_413(served: Site, path: str) -> None:
    """With a length and without one; nothing is stored, and the next request is answered."""
    body = b'"' + b"a" * MAX_BODY_BYTES + b'"'
    assert ask(served.address, "POST", path, [("Content-Type", b"application/json")], body).status == 413
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    headers = [("Content-Type", b"application/json"), ("Transfer-Encoding", b"chunked")]
    assert ask(served.address, "POST", path, headers, chunked).status == 413
    assert served.get(path).json() == [1, 2]


def test_first_request_while_redis_is_away_is_a_problem_not_a_failure(tmp_path: Path) -> None:
    """A server without lifespan starts the runtime by the first request; that is 503 and can be asked again."""
    env = {"STREAMSITE_REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with ServedBy("daphne", tmp_path, env=env, is_started=False) as away:
        away.spawn()
        eventually(lambda: _is_alive(away), 10, "the process answers")
        for path in ("/v1/stream/a", "/v1/streams"):
            answer = away.get(path)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
            assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
        assert away.request("OPTIONS", "/v1/stream/a").status_code == 204
        assert away.get("/readyz?verbose").json()["redis"] == "down"


def _is_alive(site: Site) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return site.get("/livez").status_code == 200
    return False
