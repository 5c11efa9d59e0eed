"""Cutting bytes into lines gives the same lines however the bytes arrive."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.client.lines import LineSplitter, LineTooLong


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_any_split_gives_the_same_lines(data: bytes, cuts: list[int]) -> None:
    """Lines and rest put together are the input, and only LF ends a line."""
    splitter = LineSplitter(1000)
    places = [0, *sorted(cuts), len(data)]
    lines = [line for start, end in pairwise(places) for line in splitter.feed(data[start:end])]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert b"".join(lines) + splitter.take_rest() == data


@pytest.mark.parametrize("chunks", [[b"ab\n12345\n"], [b"ab\n123", b"45\n"], [b"ab\n", b"12345"]])
def test_line_over_the_bound_is_refused(chunks: list[bytes]) -> None:
    """A line over the bound is refused before it is whole, and the lines before it are not lost."""
    splitter = LineSplitter(4)
    lines = [line for chunk in chunks[:-1] for line in splitter.feed(chunk)]
    with pytest.raises(LineTooLong) as caught:
        splitter.feed(chunks[-1])
    assert lines + caught.value.before == [b"ab\n"]
