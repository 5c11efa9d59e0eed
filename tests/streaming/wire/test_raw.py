"""Raw bodies: what was appended, or an array of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.events import Event
from streaming.wire.content import ContentKind
from streaming.wire.corrupt import CorruptEventError
from streaming.wire.raw import encode_body


def events(data: list[bytes]) -> list[Event]:
    """Make a page of events."""
    return [Event(f"{1:016d}_{n:016d}", "message", each, 0) for n, each in enumerate(data, 1)]


@given(st.lists(st.binary()), st.sampled_from([ContentKind.TEXT, ContentKind.BINARY]))
def test_text_and_binary_body_is_the_appended_bytes(data: list[bytes], kind: ContentKind) -> None:
    """No byte is added, changed or lost, valid UTF-8 or not."""
    assert encode_body(events(data), kind) == b"".join(data)


@pytest.mark.parametrize("values", [[], [b"1"], [b'{"a": 1}', b"[2, 3]", b'"x\\n"', b"null"]])
def test_json_body_is_an_array_of_the_values(values: list[bytes]) -> None:
    """Every value comes back, in order; no events are `[]`."""
    body = encode_body(events(values), ContentKind.JSON)
    assert json.loads(body) == [json.loads(value) for value in values]


@pytest.mark.parametrize("kind", list(ContentKind))
def test_damaged_event_never_enters_a_body(kind: ContentKind) -> None:
    """A body has no place for a report, so the caller must end it before the event."""
    with pytest.raises(CorruptEventError):
        encode_body([Event("a", "message", b"1", 0, is_corrupt=True)], kind)
