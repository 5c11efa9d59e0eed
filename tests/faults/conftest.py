"""What every fault test is given: a seed and a length."""

from __future__ import annotations

import os
import random
import sys

import pytest


@pytest.fixture
def seed() -> int:
    """Of everything random in the test; FAULTS_SEED replays one."""
    number = int(os.environ.get("FAULTS_SEED") or random.randrange(1_000_000))
    sys.stdout.write(f"FAULTS_SEED={number}\n")
    return number


@pytest.fixture
def seconds() -> float:
    """How long the load runs; the table of faults has 20, one run of all tests 3."""
    return float(os.environ.get("FAULTS_SECONDS") or 3)
