"""Random schedules: which faults, when, for how long, and a run of one under load; everything from one seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.history import History
from tests.faults.load import Load
from tests.faults.powercut.cut import cut_power, preload_env
from tests.faults.scene import APPEND_DEADLINE_S, fault_site
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.tcpx import Tcpx

__all__ = ["FAULTS", "Scene", "Step", "draw", "run"]

_SUBSCRIBE = b"SUBSCRIBE"
_EVALSHA = b"EVALSHA"
_DELIVERED_WITHIN_S = 3.0
"""After each fault, until all readers have something that was appended after it."""


@dataclass
class Scene:
    """What can be broken."""

    redis: RedisServer
    proxy: Tcpx
    site: Site
    history: History


@dataclass(frozen=True)
class Step:
    """One fault: when it begins, after the end of the one before it, and how long it lasts."""

    fault: str
    pause_s: float
    duration_s: float

    def __str__(self) -> str:
        return f"after {self.pause_s:.2f} s {self.fault} for {self.duration_s:.2f} s"


def draw(seed: int, seconds: float) -> list[Step]:
    """The faults that fit into a run of this length."""
    source = random.Random(seed)
    steps: list[Step] = []
    left_s = seconds
    while True:
        step = Step(source.choice(sorted(FAULTS)), source.uniform(0.3, 2.0), source.uniform(0.1, 4.0))
        left_s -= step.pause_s + step.duration_s
        if left_s < 0:
            return steps
        steps.append(step)


def run(seed: int, steps: Sequence[Step], directory: Path) -> list[str]:
    """Play a schedule under load.

    Args:
        seed: of the load and the proxy.
        directory: empty, for what the run leaves.

    Returns: the violations.
    Raises: AssertionError: something did not come back in time.
    """
    with (
        RedisServer(port=0, env=preload_env(directory)) as redis,
        Tcpx(("127.0.0.1", redis.port or 0), marks=(_SUBSCRIBE, _EVALSHA), seed=seed) as proxy,
        fault_site(directory, redis_url=proxy.redis_url, deadline_s=APPEND_DEADLINE_S) as site,
        Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
    ):
        scene = Scene(redis, proxy, site, load.history)
        for step in steps:
            time.sleep(step.pause_s)
            FAULTS[step.fault](scene, step.duration_s)
            load.wait_for_delivery(_DELIVERED_WITHIN_S)
        load.finish()
        return load.check(may_lose_newest=bool(load.history.fences))


def _kill_redis(scene: Scene, duration_s: float) -> None:
    # Redis puts its write off while an fsync is under way: even a crash of the process may lose the newest then.
    scene.redis.kill()
    scene.history.fence("redis killed")
    time.sleep(duration_s)
    scene.redis.start()


def _cut_power(scene: Scene, duration_s: float) -> None:
    cut_power(scene.redis)
    scene.history.fence("power cut")
    time.sleep(duration_s)
    scene.redis.start()


def _stop_redis(scene: Scene, duration_s: float) -> None:
    scene.redis.stop()
    time.sleep(duration_s)
    scene.redis.cont()


def _kill_site(scene: Scene, duration_s: float) -> None:
    scene.site.kill()
    time.sleep(duration_s)
    scene.site.start()


def _stall(scene: Scene, duration_s: float) -> None:
    scene.proxy.stall("both")
    time.sleep(duration_s)
    scene.proxy.heal()


def _stall_replies(scene: Scene, duration_s: float) -> None:
    scene.proxy.stall("down")
    time.sleep(duration_s)
    scene.proxy.heal()


def _cut_connections(scene: Scene, duration_s: float) -> None:
    scene.proxy.cut()
    time.sleep(duration_s)
    scene.proxy.heal()


def _reset_connections(scene: Scene, duration_s: float) -> None:
    scene.proxy.reset()
    time.sleep(duration_s)


def _lose_pushes(scene: Scene, duration_s: float) -> None:
    scene.proxy.discard("down", only=_SUBSCRIBE)
    time.sleep(duration_s)
    scene.proxy.heal()


def _lose_replies(scene: Scene, duration_s: float) -> None:
    scene.proxy.drop_reply(_EVALSHA, times=5)
    time.sleep(duration_s)
    scene.proxy.heal()


def _delay(scene: Scene, duration_s: float) -> None:
    scene.proxy.delay(0.05, jitter_s=0.1)
    time.sleep(duration_s)
    scene.proxy.heal()


def _kill_subscriptions(scene: Scene, duration_s: float) -> None:
    with scene.redis.client() as client:
        client.client_kill_filter(_type="pubsub")
    time.sleep(duration_s)


FAULTS: dict[str, Callable[[Scene, float], None]] = {
    "kill redis": _kill_redis,
    "cut the power of redis": _cut_power,
    "stop redis": _stop_redis,
    "kill the site": _kill_site,
    "stall both ways": _stall,
    "stall replies": _stall_replies,
    "cut connections": _cut_connections,
    "reset connections": _reset_connections,
    "lose pushes": _lose_pushes,
    "lose replies of scripts": _lose_replies,
    "delay": _delay,
    "kill subscriptions": _kill_subscriptions,
}
"""Name to what it does; each leaves everything mended."""
