"""FT3: the power goes. What was not flushed is lost, and whoever has seen it is told."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.faults.history import History
from tests.faults.load import Load
from tests.faults.powercut.cut import cut_file, cut_power, preload_env
from tests.faults.scene import Stream, fault_site, slug
from tests.support.redis_server import RedisServer, redis_binary
from tests.support.site import Site

pytestmark = pytest.mark.faults

_LOSS_MAX_S = 2.0
"""everysec flushes each second, and may be one second late."""


def test_power_cut_under_everysec_loses_the_newest_and_says_so(tmp_path: Path, seed: int, seconds: float) -> None:
    """What is lost is a suffix of at most two seconds; every reader that held a lost offset gets stream-rewound."""
    with (
        RedisServer(port=0, env=preload_env(tmp_path)) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
        Load(site.address, seed) as load,
    ):
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        cut = cut_power(redis)
        load.history.fence("power cut")
        redis.start()
        load.wait_for_delivery(within_s=2)
        load.run_for(seconds / 3)
        load.finish()
        metrics = site.metrics()
        assert cut.lost_bytes > 0
        assert load.check(may_lose_newest=True) == []
        lost = _lost(load)
        assert lost, "the cut has lost nothing, so nothing was tested"
        assert min(lost.values()) > load.history.fences[0].at_mono - _LOSS_MAX_S
        assert load.history.reported("stream-rewound")
        assert metrics.total("stream_log_rewinds_total") >= 1
        rewound = site.logged("log.rewound")[-1]
        kept = {event.offset for event in load.final}
        assert rewound["old_tail"] not in kept
        assert rewound["new_tail"] in kept


def test_lost_offset_is_answered_with_410(tmp_path: Path) -> None:
    """In every form of reading, and it stays so when new events have come: never another event under that offset."""
    with (
        RedisServer(args=("--appendfsync", "no"), port=0, env=preload_env(tmp_path)) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
    ):
        stream = Stream(site, "faults/rewound")
        stream.create()
        kept = stream.append({"n": 1}).headers["Stream-Next-Offset"]
        with redis.client() as client:
            # Turning `always` on flushes what is there.
            client.config_set("appendfsync", "always")
            client.set("flush", "it")
            client.config_set("appendfsync", "no")
        lost = stream.append({"n": 2}).headers["Stream-Next-Offset"]
        cut_power(redis)
        redis.start()
        for _ in range(2):
            _assert_rewound_in_every_form(site, stream, lost, kept)
            fresh = stream.append({"n": 3}).headers["Stream-Next-Offset"]
            assert fresh > lost
        assert stream.events(kept) == [{"n": 3}, {"n": 3}]


def _assert_rewound_in_every_form(site: Site, stream: Stream, lost: str, kept: str) -> None:
    forms: list[tuple[dict[str, str], dict[str, str]]] = [
        ({}, {}),
        ({}, {"Accept": "application/x-ndjson"}),
        ({}, {"Accept": "text/event-stream"}),
        ({"live": "sse"}, {}),
        ({"live": "ndjson"}, {}),
        ({"live": "long-poll"}, {}),
    ]
    for query, headers in forms:
        response = site.get(stream.path, params={"offset": lost, **query}, headers=headers)
        assert (response.status_code, slug(response)) == (410, "stream-rewound"), (query, headers, response.text)
        assert response.json()["tail_offset"] >= kept
        assert "earliest_offset" in response.json()
    resumed = site.get(stream.path, headers={"Accept": "text/event-stream", "Last-Event-ID": lost})
    assert (resumed.status_code, slug(resumed)) == (410, "stream-rewound")


def test_power_cut_under_fsynced_loses_nothing(tmp_path: Path, seed: int, seconds: float) -> None:
    """With an own Redis that fsyncs before it answers."""
    with (
        RedisServer(args=("--appendfsync", "always"), port=0, env=preload_env(tmp_path)) as redis,
        fault_site(tmp_path, redis_url=redis.url, durability="fsynced") as site,
        Load(site.address, seed) as load,
    ):
        load.run_for(seconds / 2)
        load.wait_for_delivery(within_s=2)
        cut_power(redis)
        redis.start()
        load.wait_for_delivery(within_s=2)
        load.finish()
        assert load.check() == []
        assert not load.history.reported("stream-rewound")


def test_power_cut_of_the_private_server_keeps_what_is_fsynced(tmp_path: Path) -> None:
    """The default installation with STREAMSITE_DURABILITY=fsynced: what it acknowledges is on the disk."""
    with fault_site(
        tmp_path, redis_server=str(_noting_server(tmp_path)), durability="fsynced", is_started=True
    ) as site:
        stream = Stream(site, "faults/fsynced")
        stream.create()
        for number in range(20):
            answer = stream.append({"n": number})
            assert answer.headers["Stream-Durability"] == "fsynced"
        _cut_private_power(site)
        assert stream.events() == [{"n": number} for number in range(20)]


def test_append_that_asks_for_fsynced_survives_or_is_refused(tmp_path: Path) -> None:
    """Asking for more than the site's default is granted in truth or not at all."""
    with fault_site(tmp_path, redis_server=str(_noting_server(tmp_path))) as site:
        stream = Stream(site, "faults/asked")
        stream.create()
        survivors = []
        for number in range(20):
            stream.append({"n": -number})
            answer = stream.append({"n": number}, Stream_Durability="fsynced")
            if answer.status_code == 400:
                assert slug(answer) == "durability-unavailable"
            else:
                assert answer.headers["Stream-Durability"] == "fsynced"
                survivors.append({"n": number})
        _cut_private_power(site)
        if survivors:
            response = stream.read()
            assert response.status_code == 200, (
                f"{len(survivors)} events were acknowledged as fsynced, and the stream is lost"
            )
            found = response.json()
            lost = [event for event in survivors if event not in found]
            assert not lost, f"acknowledged as fsynced and lost: {lost}"


def _noting_server(directory: Path) -> Path:
    """A binary for STREAMSITE_REDIS_SERVER that notes what it has flushed."""
    script = directory / "noting-server"
    library = preload_env(directory)["LD_PRELOAD"]
    script.write_text(f'#!/bin/sh\nLD_PRELOAD={library} exec {redis_binary("valkey-9.1")} "$@"\n')
    script.chmod(0o700)
    return script


def _cut_private_power(site: Site) -> None:
    """Kill everything of the site, lose what was not flushed, and start it again."""
    redis_pid = site.redis_pid()
    site.kill()
    os.kill(redis_pid, signal.SIGKILL)
    for aof in site.data_dir.glob("redis/appendonlydir/*.incr.aof"):
        sys.stdout.write(f"{cut_file(aof)}\n")
    site.start()


def _lost(load: Load) -> dict[str, float]:
    """Acknowledged values that are gone, and when they were acknowledged."""
    history: History = load.history
    kept = {event.value for event in load.final}
    return {v: a.returned_mono or 0.0 for v, a in history.acknowledged().items() if v not in kept}
