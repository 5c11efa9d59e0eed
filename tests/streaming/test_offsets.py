"""Offsets: fixed width, sorted as text, and nothing else is one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.offsets import ZERO, Position, format_offset, parse_offset, to_entry_id

PARTS = st.integers(min_value=0, max_value=10**16 - 1)


@given(PARTS, PARTS)
def test_offset_written_and_read_is_the_same(generation: int, sequence: int) -> None:
    """Every pair of parts has one text of 33 characters."""
    text = format_offset(generation, sequence)
    assert len(text) == 33
    assert parse_offset(text) == Position(generation, sequence)
    assert to_entry_id(text) == f"{generation}-{sequence}"


@given(st.lists(st.tuples(PARTS, PARTS), max_size=20))
def test_offsets_sort_as_text_like_their_numbers(positions: list[tuple[int, int]]) -> None:
    """Clients compare offsets as text (Durable Streams 8)."""
    by_text = sorted(format_offset(*position) for position in positions)
    assert [tuple(parse_offset(text)) for text in by_text] == sorted(positions)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "now",
        "1_1",
        ZERO + "0",
        ZERO[:-1],
        ZERO.replace("_", "-"),
        " " + ZERO,
        ZERO + "\n",
        "٠" * 16 + "_" + "0" * 16,
    ],
)
def test_anything_else_is_no_offset(text: str) -> None:
    """Signs, spaces, a line end, other digits and other lengths are refused."""
    with pytest.raises(ValueError, match="an offset is 16 digits"):
        parse_offset(text)
