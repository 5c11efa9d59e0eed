"""Behind the real nginx: with the settings that Debian ships, and with those that the guide recommends."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.deadlines import bound, eventually
from tests.support.redis_server import free_port
from tests.support.site import Site

ROOT = Path(__file__).resolve().parents[3]
_GUIDE = ROOT / "docs" / "how-to" / "run-behind-nginx.md"
_BARE = "location / { proxy_pass http://127.0.0.1:8000; }"
"""All defaults: HTTP/1.0 and `Connection: close` towards us, answers buffered."""
pytestmark = pytest.mark.slow


def _recommended() -> str:
    """The block that the guide shows."""
    block = re.search(r"```nginx\n(.*?)```", _GUIDE.read_text(), re.DOTALL)
    assert block is not None
    return block[1]


@contextmanager
def _nginx(directory: Path, location: str, site_port: int) -> Iterator[str]:
    """Nginx in front of the site; gives its URL."""
    port = free_port()
    directory.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""  # its workers have to write into the test's directory
    (directory / "nginx.conf").write_text(
        f"""
        {user} daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
            fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
            server {{ listen 127.0.0.1:{port}; {location.replace("127.0.0.1:8000", f"127.0.0.1:{site_port}")} }}
        }}
        """
    )
    process = subprocess.Popen(
        ["nginx", "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(directory / "nginx.conf")]
    )
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: _answers(url), 5, "nginx answers")
        yield url
    finally:
        process.terminate()
        process.wait(bound(5))


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=bound(1), trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("location", [_BARE, _recommended()], ids=["defaults", "recommended"])
def test_streams_work_through_nginx(tmp_path: Path, location: str) -> None:
    """Appends arrive, a live reader gets each event when it comes, and a closed stream ends as it should."""
    with (
        Site(tmp_path) as site,
        _nginx(tmp_path / "nginx", location, site.port) as url,
        httpx.Client(base_url=url, timeout=bound(4), trust_env=False) as client,
    ):
        json = {"Content-Type": "application/json"}
        assert client.put("/v1/stream/n", headers=json).status_code == 201
        live = {"Accept": "text/event-stream"}
        with client.stream("GET", "/v1/stream/n?offset=-1", headers=live) as response:
            assert response.status_code == 200
            lines = response.iter_lines()
            for number in range(5):
                assert client.post("/v1/stream/n", json={"n": number}).status_code == 204
                assert next(line for line in lines if line.startswith("data")) == f'data: {{"n":{number}}}'
            assert client.post("/v1/stream/n", headers={**json, "Stream-Closed": "true"}).status_code == 204
            assert not [line for line in lines if line.startswith("data")]
        page = client.get("/v1/stream/n?offset=-1")
        assert page.json() == [{"n": number} for number in range(5)]
        big = [{"x": "y" * 1000}] * 1000
        assert client.put("/v1/stream/big", headers=json).status_code == 201
        assert client.post("/v1/stream/big", json=big).status_code == 204
        assert client.get("/v1/stream/big?offset=-1").json()[0] == big[0]
