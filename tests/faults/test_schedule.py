"""Random schedules: a short one in every run of the tests; how they are replayed, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults import __main__ as command
from tests.faults.schedule import Step, draw, run

SECONDS = 3.0
SEED = 36
"""The first one that fits two faults into the time: the site is killed, then all subscriptions are."""


@pytest.mark.faults
def test_short_schedule_is_survived(tmp_path: Path) -> None:
    """What `make faults` plays a thousand times at length holds once in little."""
    steps = draw(SEED, SECONDS)
    assert [step.fault for step in steps] == ["kill the site", "kill subscriptions"]
    assert run(SEED, steps, tmp_path) == []


def test_seed_draws_the_same_schedule_again_within_its_length() -> None:
    """A failure can be looked at a second time."""
    for seed in range(50):
        steps = draw(seed, 20)
        assert steps == draw(seed, 20)
        assert 0 < sum(step.pause_s + step.duration_s for step in steps) <= 20
    assert draw(1, 20) != draw(2, 20)


def test_first_failure_ends_it_and_says_how_to_play_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand runs are not worth the wait once one has failed."""

    def fail_third(seed: int, steps: Sequence[Step], directory: Path) -> list[str]:
        assert steps == draw(seed, 20)
        assert not any(directory.iterdir())
        return ["an event is missing"] if seed == 9 else []

    monkeypatch.setattr(command, "run", fail_third)
    monkeypatch.setattr(sys, "argv", ["tests.faults", "--seed", "7", "--runs", "1000"])
    assert command.main() == 1
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.endswith(": ok")] == ["seed 7: ok", "seed 8: ok"]
    assert said[-2:] == ["  an event is missing", "seed 9: FAILED; again: python -m tests.faults --seed 9 --seconds 20"]
    assert all(f"  {step}" in said for step in draw(9, 20))
