"""Random schedules: which faults, when, for how long; everything from one seed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.history import History
from tests.faults.powercut.cut import cut_power
from tests.support.redis_server import RedisServer
from tests.support.site import Site
from tests.support.tcpx import Tcpx

__all__ = ["FAULTS", "Scene", "Step", "draw", "play"]

_SUBSCRIBE = b"SUBSCRIBE"
_EVALSHA = b"EVALSHA"
MARKS = (_SUBSCRIBE, _EVALSHA)
"""What the proxy must know to tell connections apart."""


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


def play(step: Step, scene: Scene) -> None:
    """Wait, break, wait, mend."""
    time.sleep(step.pause_s)
    FAULTS[step.fault](scene, step.duration_s)


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
