"""Bounds of waiting: every wait in a test ends, and a slow machine only makes the bounds longer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["SLACK", "bound", "eventually"]

_T = TypeVar("_T")

SLACK = float(os.environ.get("STREAMSITE_TEST_SLACK", "5"))
"""How much slower than an idle developer machine this one may be."""
_POLL_S = 0.02


def bound(seconds: float) -> float:
    """A liveness bound on this machine: the promised seconds times the slack."""
    return seconds * SLACK


def eventually(condition: Callable[[], _T], within_s: float, what: str) -> _T:
    """Ask until the answer is true, for things outside this process, which can't be awaited.

    Args:
        condition: asked every 20 ms; may not raise.
        within_s: the promised bound, before slack.
        what: what was waited for, for the failure's text.

    Returns: the first true answer.
    Raises: AssertionError: it did not come in time; carries the last answer.
    """
    deadline_mono = time.monotonic() + bound(within_s)
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() >= deadline_mono:
            raise AssertionError(f"not within {bound(within_s):g} s: {what} (last answer: {answer!r})")
        time.sleep(_POLL_S)
