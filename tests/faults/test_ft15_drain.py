"""FT15: SIGTERM under full load."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import Stream, fault_site
from tests.support.deadlines import bound, eventually
from tests.support.h1 import Connection

pytestmark = pytest.mark.faults

_DRAIN_S = 1.0


def test_drain_answers_everything_and_ends_readers_cleanly(tmp_path: Path, seed: int, seconds: float) -> None:
    """Nothing is cut off: appends are answered, readers get a `retry:` and the end of their body, the exit code is 0."""
    with (
        fault_site(tmp_path, workers="2", drain_s=str(_DRAIN_S), grace_s="25") as site,
        Load(site.address, seed) as load,
    ):
        quiet = Stream(site, "faults/quiet")
        quiet.create()
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        with socket.create_connection(site.address, timeout=bound(3)) as reader:
            reader.sendall(
                f"GET {quiet.path}?offset=-1 HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode()
            )
            heard = reader.recv(4096)
            os.kill(site.pid, signal.SIGTERM)
            while part := reader.recv(4096):
                heard += part
        assert heard.count(b"retry: ") == 2
        assert heard.endswith(b"\r\n0\r\n\r\n")
        assert site.wait() == 0
        site.start()
        load.wait_for_delivery(within_s=3)
        load.finish()
        assert load.check() == []
        assert not any(producer.answers["TruncatedError"] for producer in load.producers)
        ends = site.logged("drain.end")
        assert [line["forced"] for line in ends] == [0, 0]
        assert len(site.logged("drain.begin")) == 2


def test_draining_worker_says_so_and_still_appends(tmp_path: Path) -> None:
    """A load balancer that holds a connection looks elsewhere; what comes over it meanwhile is answered, and the last."""
    with fault_site(tmp_path, drain_s="5", grace_s="20", workers="1") as site:
        stream = Stream(site, "faults/draining")
        stream.create()

        async def ask() -> None:
            reader, prober, publisher = [await Connection.open(*site.address) for _ in range(3)]
            await reader.ask("GET", f"{stream.path}?offset=-1&live=ndjson")
            assert (await prober.ask("GET", "/readyz")).status == 200
            assert await prober.body() == b"ok"
            assert (await publisher.ask("GET", "/livez")).status == 200
            await publisher.body()
            os.kill(site.pid, signal.SIGTERM)
            await asyncio.to_thread(eventually, lambda: site.logged("drain.begin"), 2, "the drain has begun")
            assert (await prober.ask("GET", "/readyz")).status == 503
            assert not prober.is_reusable
            answer = await publisher.ask("POST", stream.path, {"Content-Type": "application/json"}, b"1")
            assert answer.status == 204
            assert not publisher.is_reusable
            for connection in (reader, prober, publisher):
                connection.close()

        asyncio.run(ask())
        assert site.wait() == 0
