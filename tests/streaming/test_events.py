"""Events carry a checksum over what they mean."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from streaming.events import NewEvent, checksum


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), st.binary(max_size=50))
def test_checksum_is_crc32_of_type_and_data(kind: str, data: bytes) -> None:
    """It is part of the data format: CRC-32 over the type's UTF-8 and the data."""
    assert NewEvent(data, kind).checksum == checksum(kind, data) == zlib.crc32(kind.encode() + data)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_flipped_bit_changes_the_checksum(data: bytes, draw: st.DataObject) -> None:
    """No single flipped bit passes."""
    at = draw.draw(st.integers(0, len(data) * 8 - 1))
    flipped = bytearray(data)
    flipped[at // 8] ^= 1 << at % 8
    assert checksum("message", bytes(flipped)) != checksum("message", data)
