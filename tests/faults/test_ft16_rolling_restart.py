"""FT16: the workers are replaced one by one, again and again, under load."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Self

import httpx
import pytest

from tests.faults.load import Load
from tests.faults.scene import fault_site
from tests.support.deadlines import bound, eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site

pytestmark = pytest.mark.faults


class _Knocking:
    """Opens new connections all the time; keeps what went wrong."""

    def __init__(self, site: Site) -> None:
        self._url = f"{site.url}/livez"
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._knock)
        self.count = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _knock(self) -> None:
        while not self._is_over.wait(0.01):
            try:
                httpx.get(self._url, timeout=bound(2), trust_env=False).raise_for_status()
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            self.count += 1


def _wait_until_replaced(site: Site, times: int) -> None:
    eventually(lambda: len(site.logged("workers.replaced")) == times, 20, "all workers are replaced")


def test_replacing_workers_refuses_no_connection_and_loses_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """Old and new workers accept from the same socket; readers of the old ones come back, once, by their offsets."""
    rounds = 10 if seconds > 10 else 2
    with fault_site(tmp_path, workers="2", drain_s="0.5") as site, Load(site.address, seed) as load:
        load.wait_for_delivery(within_s=2)
        first = set(site.worker_pids())
        with _Knocking(site) as knocking:
            for number in range(1, rounds + 1):
                os.kill(site.pid, signal.SIGHUP)
                _wait_until_replaced(site, number)
                load.wait_for_delivery(within_s=3)
        load.finish()
        assert load.check() == []
        assert knocking.failures == []
        assert knocking.count > 10
        eventually(lambda: len(site.worker_pids()) == 2, 5, "the old ones have ended")
        assert not first & set(site.worker_pids())
        assert not site.logged("worker.died")
        assert {line["forced"] for line in site.logged("drain.end")} == {0}


def test_replacement_that_does_not_start_leaves_the_old_workers(tmp_path: Path) -> None:
    """A mistake in a deployment is found in the log, by a site that goes on as it was."""
    with RedisServer(port=0) as redis, fault_site(tmp_path, redis_url=redis.url, workers="1") as site:
        (pid,) = site.worker_pids()
        with redis.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")  # no worker starts on it (FT7)
        os.kill(site.pid, signal.SIGHUP)
        eventually(lambda: site.logged("worker.died"), 10, "the new one has ended")
        assert site.worker_pids() == [pid]
        assert site.get("/livez").status_code == 200
