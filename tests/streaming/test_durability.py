"""Durability as text: what is asked, what is answered, and how two levels join."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.durability import WRITTEN, Durability

LEVELS = st.builds(Durability, st.booleans(), st.integers(0, 99))


@given(LEVELS)
def test_text_is_read_back(level: Durability) -> None:
    """The answer's header is a request's too."""
    assert Durability.parse(str(level)) == level


@given(LEVELS, LEVELS)
def test_joined_level_is_at_least_both(first: Durability, second: Durability) -> None:
    """Asking for less than the default never lowers it."""
    joined = first | second
    assert joined | first == joined | second == joined
    assert first | WRITTEN == first


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Fsynced",
        "fsynced,",
        "replicated",
        "replicated:",
        "replicated:0",
        "replicated:100",
        "replicated:-1",
        "replicated:٣",
    ],
)
def test_bad_text_is_refused(text: str) -> None:
    """With what would be right."""
    with pytest.raises(ValueError, match="a durability is written, fsynced or replicated:N"):
        Durability.parse(text)
