"""Random schedules of faults, in full length: `python -m tests.faults --seed 7 --runs 100`.

Each run prints its seed, its schedule and the line that plays it again, with the same load. The first failure ends it all.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.faults.schedule import draw, run


def main() -> int:
    """Run; the exit code is 1 when a history was wrong or something did not come back."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="of the first run; later runs count up from it")
    parser.add_argument("--runs", type=int, default=1, help="how many schedules (default: 1)")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each schedule (default: 20)")
    options = parser.parse_args()
    first = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    for seed in range(first, first + options.runs):
        again = f"python -m tests.faults --seed {seed} --seconds {options.seconds:g}"
        steps = draw(seed, options.seconds)
        _say(f"seed {seed}; again: {again}", *(f"  {step}" for step in steps))
        with tempfile.TemporaryDirectory(prefix="faults-") as directory:
            try:
                violations = run(seed, steps, Path(directory))
            except AssertionError as error:
                violations = [str(error)]
        if violations:
            _say(*(f"  {text}" for text in violations), f"seed {seed}: FAILED; again: {again}")
            return 1
        _say(f"seed {seed}: ok")
    return 0


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
