"""slowhttptest, a public tool for denial of service by slowness, against the whole site while a client works on.

What it costs the client is measured where the machine is quiet (`make bench-http`); here every append is answered.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deadlines import bound, eventually
from tests.support.site import Site

pytestmark = pytest.mark.slow

CONNECTIONS = 4000 if "STREAMSITE_TEST_HEAVY" in os.environ else 400
PER_SECOND = 200
"""The tool runs on the same cores: faster, it would be its own connecting that is measured."""
SECONDS = CONNECTIONS // PER_SECOND + 4
BYTES = 4_000_000 if CONNECTIONS < 1000 else 200_000
"""Of the stream that is read slowly. A page of a megabyte each for 4,000 readers would be four gigabytes, and its making is
what would be measured."""
ATTACKED, OWN = "/v1/stream/slow", "/v1/stream/own"
JSON = {"Content-Type": "application/json"}
MODES = {
    "header": ("-H", "-t", "GET", "-i", "1", "-x", "24"),
    "body": ("-B", "-t", "POST", "-i", "1", "-s", "8192", "-x", "10"),
    "read": ("-X", "-w", "10", "-y", "20", "-n", "2", "-z", "32", "-k", "3"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker, less patient than it is at home, and a stream that is worth reading."""
    env = {"STREAMSITE_WORKERS": "1", "STREAMSITE_HEADER_TIMEOUT_S": "2", "STREAMSITE_WRITE_TIMEOUT_S": "3"}
    with Site(tmp_path_factory.mktemp("slow"), env=env) as running:
        for stream in (ATTACKED, OWN):
            assert running.request("PUT", stream, headers=JSON).is_success
        for _ in range(8):
            running.request("POST", ATTACKED, headers=JSON, content=b'"' + b"a" * (BYTES // 8) + b'"')
        yield running


def append(site: Site) -> float:
    """One append, which has to be taken.

    Returns: its seconds.
    """
    began = time.perf_counter()
    answer = site.request("POST", OWN, headers=JSON, content=b"1", timeout=bound(4))
    assert answer.is_success, answer.text
    return time.perf_counter() - began


@pytest.mark.parametrize("mode", MODES)
def test_client_works_on_under_slow_attack(site: Site, tmp_path: Path, mode: str) -> None:
    """Every append is answered, the tool finds the service available, and its connections are gone soon after it."""
    tool = shutil.which("slowhttptest")
    assert tool is not None, "this test needs slowhttptest: make packages"
    before = [append(site) for _ in range(100)]
    attack = subprocess.Popen(
        [tool, *MODES[mode], "-c", str(CONNECTIONS), "-r", str(PER_SECOND), "-l", str(SECONDS), "-p", "3", "-u", site.url + ATTACKED],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=tmp_path,
        env={**os.environ, "TERM": "dumb"},
        text=True,
    )  # fmt: skip
    try:
        eventually(lambda: site.metrics().total("stream_connections") > PER_SECOND // 4, 2, "the attack has begun")
        during = []
        while attack.poll() is None:
            during.append(append(site))
        said, _ = attack.communicate(timeout=bound(5))
    finally:
        attack.kill()
        attack.wait()
    print(f"{mode}: P99 {p99_ms(before):.1f} ms before, {p99_ms(during):.1f} ms during")  # noqa: T201 - for who runs it heavy
    assert len(during) > 20
    found = re.findall(r"service available:\s+(\w+)", re.sub(r"\x1b\[[0-9;]*\w", "", said))
    assert set(found) == {"YES"}, said[-2000:]
    eventually(lambda: site.metrics().total("stream_connections") <= 3, 5, "its connections are gone")


def p99_ms(seconds: list[float]) -> float:
    """The hundredth part takes longer."""
    return statistics.quantiles(seconds, n=100)[98] * 1000
