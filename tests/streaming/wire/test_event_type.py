"""Event types: what an append may name its events."""

from __future__ import annotations

import pytest

from streaming.wire.event_type import MAX_EVENT_TYPE_BYTES, RESERVED_TYPES, check_event_type


@pytest.mark.parametrize(
    "raw",
    [
        "message",
        "tick",
        "order.created",
        "a b",
        "Error",
        "\u00fcber",
        "\u4e8b\u4ef6",
        "x" * MAX_EVENT_TYPE_BYTES,
        ":",
        "data:",
    ],
)
def test_printable_type_is_taken_as_it_is(raw: str) -> None:
    """Any printable text within the size is a type."""
    assert check_event_type(raw) == raw


@pytest.mark.parametrize(
    "raw",
    [
        "",
        " ",
        " tick",
        "tick ",
        "a\rb",
        "a\nb",
        "a\r\nb",
        "a\0b",
        "a\tb",
        "a\x1bb",
        "a\x7fb",
        "a\x85b",
        "a\u2028b",
        "a\u2029b",
        "a\u200bb",
        "\ufeffa",
        "a\u202eb",
        "a\ud800b",
        "x" * (MAX_EVENT_TYPE_BYTES + 1),
        "\u00fc" * 65,
    ],
)
def test_type_that_could_break_or_hide_is_refused(raw: str) -> None:
    """Controls, invisible characters, outer space and more than 128 bytes are refused; the message says what is allowed."""
    with pytest.raises(ValueError, match="1 to 128 bytes of printable text"):
        check_event_type(raw)


@pytest.mark.parametrize("raw", sorted(RESERVED_TYPES))
def test_type_with_a_meaning_is_refused(raw: str) -> None:
    """Nobody can make EventSource call onerror, or forge the protocol's events or our reports."""
    with pytest.raises(
        ValueError, match="reserved are control, data, error, event-corrupt, open, stream-gone, stream-rewound"
    ):
        check_event_type(raw)
