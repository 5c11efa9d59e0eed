"""Offsets: opaque to clients, `<generation>_<sequence>` to us.

Both parts are decimal numbers of 16 digits, so that offsets of one stream sort as text (Durable Streams 8). The
generation is a time in milliseconds that only ever rises (docs/adr/0002); the sequence counts events in it from 1.
An offset names the place *after* the event that bears it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["NOW", "START", "ZERO", "Position", "format_offset", "parse_offset", "to_entry_id"]

START = "-1"
"""The protocol's sentinel for the beginning of a stream."""
NOW = "now"
"""The protocol's sentinel for the current tail."""
ZERO = "0000000000000000_0000000000000000"
"""The place before every event: what `-1` stands for, in the form of an offset."""

_FORM = re.compile(r"([0-9]{16})_([0-9]{16})", re.ASCII)


class Position(NamedTuple):
    """An offset taken apart; sorts as the offset does."""

    generation: int
    sequence: int


def format_offset(generation: int | str, sequence: int | str) -> str:
    """Make the text of an offset from its two parts, each 0 to 10**16 - 1."""
    return f"{int(generation):016d}_{int(sequence):016d}"


def parse_offset(text: str) -> Position:
    """Take an offset apart.

    Raises: ValueError: the text isn't one that this server could have issued.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"an offset is 16 digits, an underscore and 16 digits, got {text[:64]!r}")
    return Position(int(match[1]), int(match[2]))


def to_entry_id(offset: str) -> str:
    """The id of a Redis stream entry for an offset: the same numbers without padding."""
    generation, sequence = parse_offset(offset)
    return f"{generation}-{sequence}"
