"""FT7: a Redis that may evict keys would lose streams in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scene import fault_site
from tests.support.deadlines import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("policy", ["allkeys-lru"])
def test_evicting_redis_refuses_the_start(tmp_path: Path, policy: str) -> None:
    """The command serve ends, and says which policy is wrong and which would be right."""
    with (
        RedisServer(args=("--maxmemory-policy", policy), port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url, is_started=False) as site,
    ):
        site.spawn()
        assert site.wait() not in (0, None)
        assert policy in site.log_tail()
        assert "noeviction" in site.log_tail()


def test_policy_changed_live_makes_the_site_unready(tmp_path: Path) -> None:
    """/readyz is red while the policy is wrong, and the log says why."""
    with (
        RedisServer(port=0) as redis,
        fault_site(tmp_path, redis_url=redis.url) as site,
        redis.client() as client,
    ):
        client.config_set("maxmemory-policy", "allkeys-lru")
        eventually(lambda: site.get("/readyz").status_code == 503, 2, "the site is not ready")
        assert "maxmemory-policy" in site.get("/readyz?verbose").text
        eventually(lambda: site.logged("redis.unsafe_policy"), 5, "the log names the policy")
        assert site.logged("redis.unsafe_policy")[-1]["policy"] == "allkeys-lru"
        client.config_set("maxmemory-policy", "noeviction")
        eventually(site.is_ready, 2, "the site is ready")
