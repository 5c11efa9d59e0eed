"""The cursor of live answers: a number that rises, so that a cache can't serve the same answer for ever.

Durable Streams 10.1: time in intervals of 20 seconds since 2024-10-09; a client that is already there, or ahead, is pushed on
by a random step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EPOCH_S", "INTERVAL_S", "next_cursor"]

EPOCH_S = 1_728_432_000
"""2024-10-09T00:00:00Z, the protocol's default."""
INTERVAL_S = 20
"""The protocol's default."""

# JavaScript clients compare cursors as numbers, exact up to 2**53; beyond that "strictly greater" could not be seen. No
# cursor of ours comes near it, so a longer one is a stranger's and is treated as absent.
_MAX_DIGITS = 15


def next_cursor(client_cursor: str | None, now_s: float, jitter: Callable[[], float]) -> str:
    """Compute the cursor of a live answer, strictly greater than the one the client sent.

    Args:
        client_cursor: the `cursor` parameter; what is not a plain decimal number counts as absent.
        now_s: seconds since 1970.
        jitter: gives a random number of seconds from 1 to 3600; called only on a collision.
    """
    current = int(now_s - EPOCH_S) // INTERVAL_S
    if client_cursor is None or len(client_cursor) > _MAX_DIGITS:
        return str(current)
    if not (client_cursor.isascii() and client_cursor.isdigit()):
        return str(current)
    seen = int(client_cursor)
    if seen < current:
        return str(current)
    return str(seen + max(1, int(jitter()) // INTERVAL_S))
