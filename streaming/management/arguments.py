"""Types of command line arguments; argparse says what is wrong and exits with 2."""

from __future__ import annotations

import argparse
import math

__all__ = ["not_negative_number", "positive_integer", "positive_number"]


def positive_integer(text: str) -> int:
    """A whole number from 1."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1, got {text!r}")
    return int(text)


def positive_number(text: str) -> float:
    """A number above 0."""
    number = not_negative_number(text)
    if not number:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text!r}")
    return number


def not_negative_number(text: str) -> float:
    """A number from 0, not infinite."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (0 <= number < math.inf):
        raise argparse.ArgumentTypeError(f"must be a number from 0, got {text!r}")
    return number
