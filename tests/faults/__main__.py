"""Random schedules of faults, in full length: `python -m tests.faults --seed 7 --runs 100`.

Each run prints its seed and its schedule; the same seed plays the same schedule again, with the same load.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.load import Load
from tests.faults.powercut.cut import preload_env
from tests.faults.scene import APPEND_DEADLINE_S, fault_site
from tests.faults.schedule import MARKS, Scene, draw, play
from tests.support.redis_server import RedisServer
from tests.support.tcpx import Tcpx


def main() -> int:
    """Run; the exit code is 1 when a history was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the first run; later runs count up from it")
    parser.add_argument("--runs", type=int, default=1, help="how many schedules (default: 1)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each schedule (default: 20)")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    failed = []
    for seed in range(first, first + options.runs):
        try:
            violations = run(seed, options.seconds)
        except AssertionError as error:
            violations = [str(error)]
        for text in violations:
            sys.stdout.write(f"  {text}\n")
        if violations:
            failed.append(seed)
        sys.stdout.write(f"seed {seed}: {'FAILED' if violations else 'ok'}\n")
        sys.stdout.flush()
    if failed:
        sys.stdout.write(f"{len(failed)} of {options.runs} failed; again with --seed {failed[0]}\n")
    return 1 if failed else 0


def run(seed: int, seconds: float) -> list[str]:
    """Play one schedule under load.

    Returns: the violations.
    Raises: AssertionError: something did not come back in time.
    """
    steps = draw(seed, seconds)
    sys.stdout.write(f"seed {seed}, {seconds:g} s:\n" + "".join(f"  {step}\n" for step in steps))
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        directory = Path(name)
        with (
            RedisServer(port=0, env=preload_env(directory)) as redis,
            Tcpx(("127.0.0.1", redis.port or 0), marks=MARKS, seed=seed) as proxy,
            fault_site(directory, redis_url=proxy.redis_url, deadline_s=APPEND_DEADLINE_S) as site,
            Load(site.address, seed, append_deadline_s=APPEND_DEADLINE_S) as load,
        ):
            for step in steps:
                play(step, Scene(redis, proxy, site, load.history))
                load.wait_for_delivery(within_s=3)
            load.finish()
            return load.check(may_lose_newest=bool(load.history.fences))


if __name__ == "__main__":
    sys.exit(main())
