"""FT4: the append-only file is damaged: its tail is cut, its framing is broken, a payload has rotted."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.faults.scene import Stream, fault_site, slug
from tests.support.deadlines import eventually
from tests.support.site import Site

pytestmark = pytest.mark.faults

_COUNT = 50


def _fill(site: Site) -> tuple[Stream, list[str]]:
    """A stream of some events, and their offsets."""
    stream = Stream(site, "faults/damaged")
    stream.create()
    return stream, [stream.append({"n": f"payload-{n}"}).headers["Stream-Next-Offset"] for n in range(_COUNT)]


def _aof(site: Site) -> Path:
    (path,) = site.data_dir.glob("redis/appendonlydir/*.incr.aof")
    return path


def _rot(site: Site, word: bytes) -> int:
    """Flip one bit of a word in the log and have Redis load it; returns the process id that was killed."""
    # Redis puts a write off while an fsync is under way.
    eventually(lambda: word in _aof(site).read_bytes(), 2, "the event is in the file")
    with _aof(site).open("r+b") as aof:
        aof.seek(aof.read().index(word))
        aof.write(bytes([word[0] ^ 1]))
    return _kill_redis(site)


def _kill_redis(site: Site) -> int:
    pid = site.redis_pid()
    os.kill(pid, signal.SIGKILL)
    return pid


def test_cut_tail_loads_the_rest_and_reports_the_loss(tmp_path: Path) -> None:
    """A write that was torn by the crash: Redis drops it, and whoever saw its event is told."""
    with fault_site(tmp_path) as site:
        stream, offsets = _fill(site)
        site.kill()
        _kill_redis(site)
        os.truncate(_aof(site), _aof(site).stat().st_size - 3)
        site.start()
        found = stream.events()
        assert _COUNT - 2 <= len(found) < _COUNT
        lost = stream.read(offsets[-1])
        assert (lost.status_code, slug(lost)) == (410, "stream-rewound")
        assert stream.append({"n": "new"}).headers["Stream-Next-Offset"] > offsets[-1]
        assert stream.events() == [*found, {"n": "new"}]


def test_broken_framing_keeps_the_site_unready_and_says_why(tmp_path: Path) -> None:
    """Redis refuses to start on it: the site stays up, not ready, and its log has Redis' last words."""
    with fault_site(tmp_path) as site:
        _fill(site)
        with _aof(site).open("r+b") as aof:
            aof.seek(0)
            place = aof.read().index(b"*", _aof(site).stat().st_size // 2)
            aof.seek(place)
            aof.write(b"!")
        killed = _kill_redis(site)
        eventually(lambda: site.get("/readyz").status_code == 503, 2, "the site is not ready")
        eventually(lambda: site.logged("redis.not_started"), 5, "the log says that Redis does not start")
        told = site.log_path.read_text()
        assert "redis-check-aof" in told or "valkey-check-aof" in told
        assert site.logged("redis.exited")[0]["pid"] == killed
        assert any("Bad file format" in line for line in site.logged("redis.exited")[-1]["last_lines"])
        assert site.get("/livez").status_code == 200
        refused = site.get("/v1/stream/faults/damaged")
        assert (refused.status_code, slug(refused)) == (503, "store-unavailable")


def test_rotten_payload_is_reported_and_never_delivered(tmp_path: Path) -> None:
    """One flipped bit: Redis loads it without complaint; every form of reading tells its offset instead of the data."""
    with fault_site(tmp_path) as site:
        stream, offsets = _fill(site)
        rotten = 20
        killed = _rot(site, b"payload-20")
        eventually(lambda: site.find_redis_pid() not in (None, killed), 2, "the supervisor has restarted Redis")
        eventually(site.is_ready, 2, "the site is ready")
        stream.append({"n": "last"})
        texts = {
            form: _read_until(site, stream, query, headers, "last")
            for form, query, headers in (
                ("sse", {"offset": "-1"}, {"Accept": "text/event-stream"}),
                ("live=sse", {"offset": "-1", "live": "sse"}, {}),
                ("live ndjson", {"offset": "-1", "live": "ndjson"}, {}),
                ("ndjson", {"offset": "-1"}, {"Accept": "application/x-ndjson"}),
            )
        }
        for form, text in texts.items():
            assert "qayload" not in text, form
            assert "payload-19" in text, form
            assert "payload-21" in text, form
            assert "event-corrupt" in text, form
            assert offsets[rotten] in text, form
        assert site.metrics().total("stream_events_corrupt_total") >= 1
        assert site.logged("event.corrupt")[0]["offset"] == offsets[rotten]


def test_rotten_payload_is_not_in_a_page_without_frames(tmp_path: Path) -> None:
    """Catch-up has no room for a report inside its body: it ends before the event, and then names it."""
    with fault_site(tmp_path) as site:
        stream, offsets = _fill(site)
        killed = _rot(site, b"payload-20")
        eventually(lambda: site.find_redis_pid() not in (None, killed), 2, "the supervisor has restarted Redis")
        eventually(site.is_ready, 2, "the site is ready")
        first = stream.read()
        assert first.status_code == 200
        assert [event["n"] for event in first.json()] == [f"payload-{n}" for n in range(20)]
        assert first.headers["Stream-Next-Offset"] == offsets[19]
        second = stream.read(offsets[19])
        assert slug(second) == "event-corrupt"
        assert second.json()["offset"] == offsets[20]
        assert stream.events(offsets[20])[0] == {"n": "payload-21"}


def _read_until(site: Site, stream: Stream, query: dict[str, str], headers: dict[str, str], last: str) -> str:
    """What arrives until a word does."""
    text = ""
    with site.stream(stream.path, params=query, headers=headers) as response:
        for chunk in response.iter_text():
            text += chunk
            if last in text:
                break
    return json.dumps(text)
