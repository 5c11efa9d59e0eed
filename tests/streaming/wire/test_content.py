"""Content types: grammar, kinds, and when two are the same."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire.content import ContentKind, normalise_content_type, same_content_type

TOKENS = st.text(alphabet=string.ascii_letters + string.digits + "!#$%&'+-.^_`|~", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("text/plain", "text/plain"),
        (" TEXT/Plain\t", "text/plain"),
        ("application/json;charset=UTF-8", "application/json; charset=utf-8"),
        ('text/plain ; Charset="utf-8"', "text/plain; charset=utf-8"),
        ("text/plain; charset=utf8", "text/plain; charset=utf-8"),
        ("text/plain; charset=US-ASCII", "text/plain; charset=us-ascii"),
        ("text/plain;", "text/plain"),
        ("text/plain; ; format=flowed ;", "text/plain; format=flowed"),
        ('application/x; title="a b; \\"c\\""', 'application/x; title="a b; \\"c\\""'),
        ('application/x; v="1"', "application/x; v=1"),
        ('application/x; v=""', 'application/x; v=""'),
        ("application/vnd.api+json", "application/vnd.api+json"),
        ("application/x; charset=latin-1", "application/x; charset=latin-1"),
    ],
)
def test_valid_content_type_gets_its_one_spelling(raw: str, expected: str) -> None:
    """Case, space and needless quotes make no second spelling of a type."""
    assert normalise_content_type(raw) == expected


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", "type/subtype"),
        ("text", "type/subtype"),
        ("text/", "type/subtype"),
        ("/plain", "type/subtype"),
        ("text /plain", "type/subtype"),
        ("text/pl\u00e4in", "name=value"),
        ("text/plain, text/html", "name=value"),
        ("text/plain charset=utf-8", "name=value"),
        ("text/plain; charset", "name=value"),
        ("text/plain; charset=", "name=value"),
        ("text/plain; charset = utf-8", "name=value"),
        ('text/plain; a="open', "name=value"),
        ("text/plain; a=1; A=2", "twice"),
        ("text/plain\r\nX-Evil: 1", "name=value"),
        ("text/plain\n", "name=value"),
        ("text/plain\0", "name=value"),
        ('text/plain; a="\r\n"', "name=value"),
        ("*/*", "range"),
        ("text/*", "range"),
        ("text/plain; charset=latin-1", "utf-8"),
        ("text/html; charset=utf-16", "utf-8"),
        ("text/" + "x" * 300, "at most 255"),
    ],
)
def test_invalid_content_type_is_refused_with_the_reason(raw: str, words: str) -> None:
    """What is not a media type, is a range, or is text in another charset is refused and told why."""
    with pytest.raises(ValueError, match=words):
        normalise_content_type(raw)


@given(
    TOKENS,
    TOKENS,
    st.dictionaries(
        TOKENS.map(str.lower), st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12), max_size=3
    ),
)
def test_normalised_content_type_stays_as_it_is(major: str, minor: str, parameters: dict[str, str]) -> None:
    """Normalising twice changes nothing, whatever the parameters hold."""
    parameters.pop("charset", None)
    quoted = {name: value.replace("\\", "\\\\").replace('"', '\\"') for name, value in parameters.items()}
    once = normalise_content_type(f"{major}/{minor}" + "".join(f'; {name}="{value}"' for name, value in quoted.items()))
    assert normalise_content_type(once) == once
    assert same_content_type(once, f"{major}/{minor}".upper())


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [
        ("application/json", ContentKind.JSON),
        ("APPLICATION/JSON ; charset=utf-8", ContentKind.JSON),
        ("application/json; charset=utf-8", ContentKind.JSON),
        ("application/vnd.api+json", ContentKind.BINARY),
        ("application/json-seq", ContentKind.BINARY),
        ("application/x-ndjson", ContentKind.BINARY),
        ("text/plain", ContentKind.TEXT),
        ("text/event-stream; charset=utf-8", ContentKind.TEXT),
        ("application/octet-stream", ContentKind.BINARY),
        ("image/png", ContentKind.BINARY),
        ("textual/x", ContentKind.BINARY),
    ],
)
def test_kind_follows_type_and_ignores_parameters(content_type: str, kind: ContentKind) -> None:
    """Only application/json is JSON mode, only text/* is text, all else is bytes."""
    assert ContentKind.of(content_type) is kind


@pytest.mark.parametrize(
    ("a", "b", "is_same"),
    [
        ("text/plain", "TEXT/PLAIN", True),
        ("application/json", "application/json; charset=utf-8", True),
        ("text/plain;charset=us-ascii", "text/plain; charset=utf-8", True),
        ("text/plain", "text/html", False),
        ("application/json", "text/json", False),
    ],
)
def test_same_content_type_ignores_case_and_charset(a: str, b: str, is_same: bool) -> None:
    """Clients that add a charset or shout still append to the stream."""
    assert same_content_type(a, b) is is_same
