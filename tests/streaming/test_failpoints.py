"""Failpoints do what the variable says, and nothing without it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from streaming import failpoints

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Arm what a variable of this text would."""

    def arm_text(text: str) -> None:
        monkeypatch.setattr(failpoints, "_armed", failpoints._parse(text))

    return arm_text


def test_nothing_armed_hit_does_nothing() -> None:
    """Production passes every failpoint without noticing."""
    for name in failpoints.KNOWN:
        failpoints.hit(name)
        assert failpoints.value(name) == 0


def test_armed_error_and_drop_raise_only_where_they_are_armed(arm: Callable[[str], None]) -> None:
    """Each name acts for itself."""
    arm("before_append=error, after_append=drop")
    with pytest.raises(failpoints.FailpointError, match="before_append"):
        failpoints.hit("before_append")
    with pytest.raises(ConnectionResetError):
        failpoints.hit("after_append")
    failpoints.hit("fork_pinned")


def test_nth_hit_acts_once(arm: Callable[[str], None]) -> None:
    """`@3` lets two pass, acts on the third and never again."""
    arm("after_append=error@3")
    failpoints.hit("after_append")
    failpoints.hit("after_append")
    with pytest.raises(failpoints.FailpointError):
        failpoints.hit("after_append")
    failpoints.hit("after_append")


def test_value_is_the_armed_number(arm: Callable[[str], None]) -> None:
    """A number may be negative: time goes back too."""
    arm("redis_time_shift_ms=-86400000")
    assert failpoints.value("redis_time_shift_ms") == -86_400_000


@pytest.mark.parametrize(
    "text",
    [
        "no_such=exit",
        "after_append",
        "after_append=explode",
        "after_append=5",
        "redis_time_shift_ms=exit",
        "after_append=exit@0",
    ],
)
def test_wrong_variable_stops_the_start_with_one_line(text: str) -> None:
    """A misspelt failpoint would make a test that tests nothing."""
    done = subprocess.run(
        [sys.executable, "-c", "import streaming.failpoints"],
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: text},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert failpoints.VARIABLE in done.stderr


def test_armed_exit_ends_the_process_without_clean_up() -> None:
    """`exit` is a crash: finally blocks do not run."""
    code = "from streaming import failpoints\ntry:\n    failpoints.hit('after_append')\nfinally:\n    print('cleaned')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, failpoints.VARIABLE: "after_append=exit"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 9
    assert done.stdout == ""


def test_every_failpoint_in_the_code_is_known() -> None:
    """A hit with a misspelt name could never be armed."""
    used = set()
    for path in (ROOT / "streaming").rglob("*.py"):
        used |= set(re.findall(r"failpoints\.(?:hit|value)\(\s*\"([^\"]+)\"", path.read_text()))
    assert used <= set(failpoints.KNOWN)
