"""The cursor of live answers: always ahead of the client's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire.cursor import EPOCH_S, INTERVAL_S, next_cursor

NOW_S = EPOCH_S + 1000 * INTERVAL_S + 7.5


def never() -> float:
    """Fail: without a collision no jitter is asked for."""
    raise AssertionError("jitter was asked for")


@pytest.mark.parametrize(
    "client", [None, "", "0", "999", "-5", "1.5", "1e3", "+1001", " 1001", "abc", "\u0661\u0662", "9" * 16, "9" * 5000]
)
def test_cursor_behind_or_unreadable_gives_the_interval(client: str | None) -> None:
    """A client without a usable cursor gets the number of the current interval."""
    assert next_cursor(client, NOW_S, never) == "1000"


@pytest.mark.parametrize(
    ("client", "jitter_s", "expected"),
    [
        ("1000", 1, "1001"),
        ("1000", 20, "1001"),
        ("1000", 3600, "1180"),
        ("1500", 40, "1502"),
        ("01000", 1, "1001"),
        ("9" * 15, 1, "1" + "0" * 15),
    ],
)
def test_cursor_at_or_ahead_is_pushed_on_by_jitter(client: str, jitter_s: float, expected: str) -> None:
    """A collision moves the client on by whole intervals of the jitter, at least one."""
    assert next_cursor(client, NOW_S, lambda: jitter_s) == expected


@given(st.integers(0, 10**15 - 1), st.floats(EPOCH_S, EPOCH_S + 10**9), st.floats(1, 3600))
def test_cursor_always_rises(client: int, now_s: float, jitter_s: float) -> None:
    """The protocol's promise: strictly greater than what the client sent, whatever the clock says."""
    assert int(next_cursor(str(client), now_s, lambda: jitter_s)) > client
