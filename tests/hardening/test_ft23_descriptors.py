"""FT23: the descriptors of a process run out while clients come."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streamsite.server.probe import open_descriptors
from tests.streamsite.server.served import LOOPS, Served, Wire
from tests.support.deadlines import bound, eventually
from tests.support.site import Site

pytestmark = pytest.mark.slow

LIMIT = 256
ROOM = LIMIT - 64
MORE = 60
"""Clients beyond the room."""


@pytest.fixture(scope="module", params=LOOPS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The probe on each loop, for the whole module."""
    with Served(request.param) as running:
        yield running


def limit_descriptors(pid: int, count: int) -> None:
    """As `prlimit --nofile=256: --pid` does; the hard limit stays, so that it can be taken back without root."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, hard))


def test_accepting_pauses_and_goes_on(served: Served) -> None:
    """No connection is refused or dropped: those beyond the room wait, those within it live, and no processor time is burnt."""
    limit_descriptors(served.process.pid, LIMIT)
    with contextlib.ExitStack() as stack:
        live: list[Wire] = []
        for _ in range(10):
            live.append(stack.enter_context(served.wire()))
            live[-1].send(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n")
            assert live[-1].line() == b"HTTP/1.1 200 OK\r\n"
        crowd = [stack.enter_context(served.wire()) for _ in range(ROOM + MORE)]
        for wire in crowd:
            wire.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
        for wire in crowd[: ROOM - 10]:
            assert wire.answer().status == 200
        eventually(lambda: served.logged("accept.paused"), 1, "it says that it pauses")
        assert open_descriptors(served.process.pid) <= LIMIT - 32
        used_s, began = served.cpu_s(), time.monotonic()
        crowd[0].socket.settimeout(1.0)
        with pytest.raises(TimeoutError):  # waits, the bound is the measurement
            crowd[0].answer()
        assert served.cpu_s() - used_s < 0.3 * (time.monotonic() - began), "accepting goes round and round"
        answer = crowd[1].ask("/state")
        assert answer.status == 200, "what is open is served"
        for wire in crowd[: MORE + 20]:
            wire.close()
        for wire in crowd[ROOM - 10 :]:
            assert wire.answer().status == 200, "those who waited are served"
        assert served.metrics().total("stream_accept_pauses_total") >= 1
        for wire in live:
            wire.close()
    limit_descriptors(served.process.pid, 4096)
    served.until("live", 0)
    served.until("connections", 1)


def test_no_descriptor_for_accept_is_no_busy_loop(served: Served) -> None:
    """EMFILE, where something else has taken them: nothing is closed that a client has opened, and each waits for its turn."""
    pid = served.process.pid
    before = served.metrics().total("stream_accept_pauses_total")
    with served.wire() as kept:
        assert kept.ask("/hello").status == 200
        limit_descriptors(pid, open_descriptors(pid))
        with served.wire() as waiting:
            waiting.send(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
            used_s, began = served.cpu_s(), time.monotonic()
            waiting.socket.settimeout(1.5)
            with pytest.raises(TimeoutError):
                waiting.answer()
            assert served.cpu_s() - used_s < 0.3 * (time.monotonic() - began)
            assert kept.ask("/hello").status == 200
            limit_descriptors(pid, 4096)
            again = Wire(waiting.socket)  # a reader that has timed out reads no more
            again.socket.settimeout(bound(4))
            assert again.answer().status == 200
    assert served.metrics().total("stream_accept_pauses_total") > before
    assert any(line["reason"] in {"EMFILE", "limit"} for line in served.logged("accept.paused"))


def test_site_recovers_from_a_worker_without_descriptors(tmp_path: Path) -> None:
    """The same on the whole site: a live reader goes on to get events, and when the crowd has left everybody is served."""
    path = "/v1/stream/ft23"
    json = {"Content-Type": "application/json"}
    with Site(tmp_path) as site:
        site.request("PUT", path, headers=json)
        (pid,) = site.worker_pids()
        with site.stream(f"{path}?live=ndjson&offset=-1") as reader, contextlib.ExitStack() as stack:
            parts = reader.iter_raw()
            site.request("POST", path, headers=json, content=b"1")
            assert next(parts)
            limit_descriptors(pid, LIMIT)
            crowd = [stack.enter_context(contextlib.closing(Wire.open(site.address))) for _ in range(LIMIT)]
            eventually(lambda: site.logged("accept.paused"), 2, "it says that it pauses")
            site.request("POST", path, headers=json, content=b"2")  # on the connection that there is
            assert next(parts)
            for wire in crowd:
                wire.close()
        eventually(site.is_ready, 4, "the site is ready again")
        assert site.request("POST", path, headers=json, content=b"3").is_success
        assert site.metrics().total("stream_accept_pauses_total") >= 1
