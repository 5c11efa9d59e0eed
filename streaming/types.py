"""Type aliases that many signatures share."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Clock", "Headers"]

Clock = Callable[[], float]
"""Seconds; which clock, the parameter's name says."""
Headers = dict[str, str]
