"""FT9: asynchronous failover: the replica that takes over has never received the newest events.

SIGSTOP does not do it: they would still be in the replica's socket buffer. The proxy between primary and replica holds
them back and throws them away.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.load import Load
from tests.faults.scene import APPEND_DEADLINE_S, Stream, fault_site, slug
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.tcpx import Tcpx

pytestmark = pytest.mark.faults

_NO_DELAY = ("--repl-diskless-sync-delay", "0")
"""Else a primary waits five seconds for further replicas."""


@dataclass
class _Pair:
    """A primary and its replica, each behind a proxy, and a site that asks whoever leads."""

    primary: RedisServer
    replica: RedisServer
    replication: Tcpx
    leader: Tcpx
    site: Site

    def hold_replication_back(self) -> None:
        self.replication.stall("down")

    def fail_over(self) -> None:
        """What was held back is lost, the primary is dead, the replica leads."""
        self.replication.cut()
        self.primary.kill()
        with self.replica.client() as client:
            client.replicaof("NO", "ONE")
        self.leader.retarget(("127.0.0.1", self.replica.port or 0))
        self.leader.reset()


@contextmanager
def _pair(directory: Path, durability: str) -> Iterator[_Pair]:
    with (
        RedisServer(args=_NO_DELAY, port=0) as primary,
        RedisServer(args=_NO_DELAY, port=0) as replica,
        Tcpx(("127.0.0.1", primary.port or 0)) as replication,
        Tcpx(("127.0.0.1", primary.port or 0)) as leader,
    ):
        _follow(replica, replication.port)
        with fault_site(
            directory, redis_url=leader.redis_url, durability=durability, deadline_s=APPEND_DEADLINE_S
        ) as site:
            yield _Pair(primary, replica, replication, leader, site)


def _follow(replica: RedisServer, port: int) -> None:
    with replica.client() as client:
        client.replicaof("127.0.0.1", str(port))
        eventually(lambda: client.info("replication")["master_link_status"] == "up", 10, "the replica follows")


def test_failover_in_mode_written_reports_what_it_lost(tmp_path: Path, seed: int, seconds: float) -> None:
    """The loss is allowed in this mode, and every reader that held a lost event is told."""
    with (
        _pair(tmp_path, "written") as pair,
        Load(pair.site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        pair.hold_replication_back()
        load.run_for(seconds / 3)
        pair.fail_over()
        load.history.fence("failover")
        load.wait_for_delivery(within_s=2)
        load.finish()
        metrics = pair.site.metrics()
        assert load.check(may_lose_newest=True) == []
        kept = {event.value for event in load.final}
        assert [value for value in load.history.acknowledged() if value not in kept], "nothing was lost: nothing tested"
        assert load.history.reported("stream-rewound")
        assert metrics.total("stream_log_rewinds_total") >= 1
        assert metrics.total("stream_log_incarnation_changes_total") >= 1


def test_failover_in_mode_replicated_loses_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """What the replica has not confirmed is not acknowledged: 503 unconfirmed, and a retry settles it."""
    with (
        _pair(tmp_path, "replicated:1") as pair,
        Load(
            pair.site.address, seed, producers=3, per_second=100, readers=20, append_deadline_s=APPEND_DEADLINE_S
        ) as load,
    ):
        load.run_for(seconds / 3)
        load.wait_for_delivery(within_s=2)
        pair.hold_replication_back()
        eventually(lambda: load.appended("unconfirmed") >= 6, 2 * APPEND_DEADLINE_S + 1, "appends are unconfirmed")
        # What is known is said: none of them has run into its deadline.
        assert load.appended("outcome-unknown") == 0
        pair.fail_over()
        load.history.fence("failover")
        with RedisServer(port=0) as second:
            _follow(second, pair.replica.port or 0)
            load.wait_for_delivery(within_s=4)
            load.finish()
            metrics = pair.site.metrics()
        kept = {event.value for event in load.final}
        assert [value for value in load.history.acknowledged() if value not in kept] == []
        # Readers may have seen an event before it was that safe, and are told when it is lost.
        assert load.check(may_lose_newest=True) == []
        assert metrics.total("stream_append_unconfirmed_total") >= 1


def test_unconfirmed_append_is_settled_by_its_retry(tmp_path: Path) -> None:
    """Written but not replicated: 503; when the replica has caught up, the same seq is acknowledged with its offset."""
    with _pair(tmp_path, "replicated:1") as pair:
        stream = Stream(pair.site, "faults/unconfirmed")
        stream.create()
        assert stream.produce({"n": 0}, "p", 0).headers["Stream-Durability"] == "replicated:1"
        pair.hold_replication_back()
        refused = stream.produce({"n": 1}, "p", 1)
        assert (refused.status_code, slug(refused)) == (503, "unconfirmed")
        pair.replication.heal()
        repeated = stream.produce({"n": 1}, "p", 1)
        assert repeated.status_code == 204
        assert repeated.headers["Stream-Next-Offset"] == stream.tail()
        assert stream.events() == [{"n": 0}, {"n": 1}]
