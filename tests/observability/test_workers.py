"""What the supervisor's file becomes, and the numbers of workers that have ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from observability import metrics, workers
from tests.support.deadlines import bound


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The supervisor's file."""
    path = tmp_path / "workers.json"
    workers.watch_state(path)
    yield path
    workers.watch_state(None)


def test_file_is_shown_as_it_was_described(state: Path) -> None:
    """Names, types and labels are those of the reference page."""
    state.write_text(json.dumps({"workers": 2, "restarts": {"SIGKILL": 3}, "stalled": 1}))
    assert REGISTRY.get_sample_value("stream_workers") == 2
    assert REGISTRY.get_sample_value("stream_worker_restarts_total", {"signal": "SIGKILL"}) == 3
    assert REGISTRY.get_sample_value("stream_worker_stalled_total") == 1
    described = {row.name for row in metrics.describe()}
    assert {"stream_workers", "stream_worker_restarts_total", "stream_worker_stalled_total"} <= described


def test_file_that_is_missing_or_broken_shows_nothing(state: Path) -> None:
    """A scrape in the moment of its writing does not fail."""
    assert REGISTRY.get_sample_value("stream_workers") is None
    state.write_text("{")
    assert REGISTRY.get_sample_value("stream_workers") is None


_COUNTING = """
from prometheus_client import Counter, Histogram
Counter("made_total", "-", ["kind"]).labels("a").inc({0})
Histogram("took_seconds", "-", buckets=(1.0,)).observe({0})
"""
_SHOWING = """
import sys
from pathlib import Path
from observability import workers
workers.merge_ended(Path(sys.argv[1]))
workers.merge_ended(Path(sys.argv[1]))
from prometheus_client import generate_latest
print(generate_latest(workers.registry()).decode())
"""


def _run(code: str, directory: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code, str(directory)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(directory), "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
        timeout=bound(20),
    ).stdout


def test_numbers_of_ended_workers_are_kept_in_one_file(tmp_path: Path) -> None:
    """What happened stays counted; a thousand restarts are not a thousand files that each scrape reads."""
    for number in (2, 3, 5):
        _run(_COUNTING.format(number), tmp_path)
    assert len(list(tmp_path.glob("counter_*.db"))) == 3
    text = _run(_SHOWING, tmp_path)
    assert 'made_total{kind="a"} 10.0' in text
    assert 'took_seconds_bucket{le="1.0"} 0.0' in text
    assert 'took_seconds_bucket{le="+Inf"} 3.0' in text
    assert "took_seconds_sum 10.0" in text
    assert [path.name for path in tmp_path.glob("made*")] == []
    assert {path.name for path in tmp_path.glob("counter_*.db")} >= {"counter_0.db"}
    assert len(list(tmp_path.glob("counter_*.db"))) <= 2
