"""What every fault test is given: a seed and a length; and how long all of them may take."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Iterator

import pytest

from tests.support.deadlines import bound

LOAD_S = 3.0
TOGETHER_S = 180.0
"""All fault tests of one run, each with its few seconds of load."""


@pytest.fixture
def seed() -> int:
    """Of everything random in the test; FAULTS_SEED replays one."""
    number = int(os.environ.get("FAULTS_SEED") or random.randrange(1_000_000))
    sys.stdout.write(f"FAULTS_SEED={number}\n")
    return number


@pytest.fixture
def seconds() -> float:
    """How long the load runs; the table of faults has 20, one run of all tests 3."""
    return float(os.environ.get("FAULTS_SECONDS") or LOAD_S)


@pytest.fixture(scope="package", autouse=True)
def _in_time() -> Iterator[None]:
    """The last of these tests fails at its end when all together took too long, unless they were asked to take longer."""
    began_mono = time.monotonic()
    yield
    took_s = time.monotonic() - began_mono
    if "FAULTS_SECONDS" not in os.environ:
        assert took_s < bound(TOGETHER_S), f"the fault tests took {took_s:.0f} s, {bound(TOGETHER_S):.0f} s are allowed"
