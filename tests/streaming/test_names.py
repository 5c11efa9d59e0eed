"""Names: two URLs never mean one stream, one URL never means two, and hostile ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.names import MAX_NAME_BYTES, check_name, decode_name, quote_name


def _is_name(text: str) -> bool:
    try:
        check_name(text)
    except ValueError:
        return False
    return True


NAMES = st.text(min_size=1, max_size=40).filter(_is_name)


@given(NAMES)
def test_quoted_name_decodes_to_itself(name: str) -> None:
    """What `quote_name` writes into a URL, `decode_name` reads back."""
    assert decode_name(quote_name(name).encode("ascii")) == name


@given(st.binary(max_size=40))
def test_any_bytes_decode_to_a_name_or_are_refused(raw: bytes) -> None:
    """No input breaks the decoder, and what passes it passes `check_name` too."""
    try:
        name = decode_name(raw)
    except ValueError:
        return
    check_name(name)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "empty"),
        (b"a%2Fb", "encoded slash"),
        (b"a%2fb", "encoded slash"),
        (b"a%", "two hex digits"),
        (b"a%4", "two hex digits"),
        (b"a%zz", "two hex digits"),
        (b"%ff", "not valid UTF-8"),
        (b"%ED%A0%80", "not valid UTF-8"),
        (b"%C0%AF", "not valid UTF-8"),
        (b"a%00b", r"U\+0000"),
        (b"a%0Ab", r"U\+000A"),
        (b"a%20b", r"U\+0020"),
        ("a\u200bb".encode(), r"U\+200B"),
        ("a\u202eb".encode(), r"U\+202E"),
        ("a\u00a0b".encode(), r"U\+00A0"),
        ("\ufeffa".encode(), r"U\+FEFF"),
        (b"a%5Cb", "backslash"),
        (b"/a", "empty segment"),
        (b"a/", "empty segment"),
        (b"a//b", "empty segment"),
        (b"..", r"'\.\.'"),
        (b"a/%2e%2e/b", r"'\.\.'"),
        (b"a/./b", r"'\.'"),
        (b"__ds", "reserved"),
        (b"__ds/x", "reserved"),
        (b"%5F_ds/x", "reserved"),
        (b"a" * (MAX_NAME_BYTES + 1), "at most 255"),
        ("é".encode() * 128, "256 bytes"),
    ],
)
def test_hostile_name_is_refused_with_its_reason(raw: bytes, why: str) -> None:
    """Each refusal says what came."""
    with pytest.raises(ValueError, match=why):
        decode_name(raw)


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"a", "a"),
        (b"a/b/c", "a/b/c"),
        (b"%61", "a"),
        (b"a%2561", "a%61"),
        (b"a+b", "a+b"),
        (b"...", "..."),
        (b"a/__ds", "a/__ds"),
        (b"__dsx", "__dsx"),
        (b"a" * MAX_NAME_BYTES, "a" * MAX_NAME_BYTES),
        ("größe/日本".encode(), "größe/日本"),
        (b"a:b{c}", "a:b{c}"),
    ],
)
def test_name_is_decoded_exactly_once(raw: bytes, name: str) -> None:
    """`%25` becomes a percent sign, and nothing after it is decoded again."""
    assert decode_name(raw) == name
