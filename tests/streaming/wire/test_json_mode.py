"""JSON mode: what is cut is what was sent, byte for byte, and bad bodies are refused in good time."""

from __future__ import annotations

import decimal
import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.wire.json_mode import (
    MAX_DEPTH,
    JsonRefused,
    TooManyEvents,
    check_json,
    join_json,
    split_json,
    split_ndjson,
)
from tests.support.deadlines import SLACK, bound

if TYPE_CHECKING:
    from collections.abc import Callable

PLENTY = 10_000

# Values as a careless client writes them: inner space, escapes, duplicate keys, long numbers.
SCALARS = st.one_of(
    st.sampled_from(
        [
            b"null",
            b"true",
            b"-0",
            b"1E+2",
            b"0.10",
            b"123456789012345678901234567890",
            b"3.14159265358979323846264338327950288",
            b'"\\u00e9\\/\\ud83d\\ude00"',
            b'"a,b]}[{\\"\\\\"',
            '"\u2028\ufeff\u00e9"'.encode(),
            b'{"k":1,"k": 2}',
            b"[ ]",
            b"{ }",
        ]
    ),
    st.text(st.characters(codec="utf-8")).map(lambda text: json.dumps(text, ensure_ascii=False).encode()),
    st.integers().map(lambda number: str(number).encode()),
)
SPACE = st.text(alphabet=" \t\r\n", max_size=3).map(str.encode)


def _array(parts: list[tuple[bytes, bytes, bytes]]) -> bytes:
    return b"[" + b",".join(before + value + after for before, value, after in parts) + b"]"


def _object(parts: list[tuple[bytes, bytes, bytes]]) -> bytes:
    return b"{" + b",".join(before + b'"k"' + after + b":" + value for before, value, after in parts) + b"}"


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(st.tuples(SPACE, inner, SPACE), min_size=1, max_size=3).map(_array),
        st.lists(st.tuples(SPACE, inner, SPACE), min_size=1, max_size=3).map(_object),
    ),
    max_leaves=5,
)


def nested(depth: int) -> bytes:
    """Make an array of that many levels."""
    return b"[" * depth + b"]" * depth


def fastest_s(call: Callable[[], Any]) -> float:
    """The shortest of three runs: what the work takes when nothing else disturbs it."""
    times = []
    for _ in range(3):
        start_mono = time.perf_counter()
        call()
        times.append(time.perf_counter() - start_mono)
    return min(times)


# Cutting


@given(st.lists(st.tuples(SPACE, VALUES, SPACE), max_size=5), SPACE, SPACE)
def test_array_is_cut_into_its_elements_byte_for_byte(
    parts: list[tuple[bytes, bytes, bytes]], before: bytes, after: bytes
) -> None:
    """Exactly one level is taken off; every value keeps its bytes and loses the space around it."""
    assert split_json(before + _array(parts) + after, PLENTY) == [value for _, value, _ in parts]


@given(SPACE, VALUES.filter(lambda value: not value.startswith(b"[")), SPACE)
def test_other_value_is_one_event_byte_for_byte(before: bytes, value: bytes, after: bytes) -> None:
    """What is not an array is one event as it was sent."""
    assert split_json(before + value + after, PLENTY) == [value]


@given(st.lists(VALUES, max_size=5))
def test_joined_values_are_an_array_that_cuts_back(values: list[bytes]) -> None:
    """A page read and appended again is the same events; another parser reads the same values."""
    page = join_json(values)
    assert split_json(page, PLENTY) == values
    assert json.loads(page) == [json.loads(value) for value in values]


@given(SPACE, VALUES, SPACE)
def test_checked_value_stays_whole(before: bytes, value: bytes, after: bytes) -> None:
    """Where one event is meant, an array is one too."""
    assert check_json(before + value + after) == value


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"event": "created"}', [b'{"event": "created"}']),
        (b'[{"event": "a"}, {"event": "b"}]', [b'{"event": "a"}', b'{"event": "b"}']),
        (b"[[1,2], [3,4]]", [b"[1,2]", b"[3,4]"]),
        (b"[[[1,2,3]]]", [b"[[1,2,3]]"]),
        (b"[]", []),
        (b" [ ] ", []),
        (b'"[1,2]"', [b'"[1,2]"']),
    ],
)
def test_protocol_example_is_cut_as_it_says(body: bytes, expected: list[bytes]) -> None:
    """The examples of Durable Streams 9.1.2 hold."""
    assert split_json(body, PLENTY) == expected


@pytest.mark.parametrize(
    "number", [b"12345678901234567890123456789012345678901234567890.000100", b"1" * 300, b"-0.0", b"1.0E-400"]
)
def test_long_number_keeps_every_digit(number: bytes) -> None:
    """Numbers that no double can tell apart come back digit by digit."""
    (value,) = split_json(b"[" + number + b"]", PLENTY)
    assert value == number
    assert decimal.Decimal(value.decode()) == decimal.Decimal(number.decode())


# Refusing

BROKEN = {
    "garbage": b"{ invalid json }",
    "truncated": b'{"a":1',
    "two values": b"1 2",
    "two arrays": b"[1],[2]",
    "array and more": b"[1]]",
    "trailing comma": b"[1,]",
    "single quotes": b"'a'",
    "comment": b"[1/*x*/]",
    "NaN": b"[NaN]",
    "Infinity": b"-Infinity",
    "lone high surrogate": b'"\\ud800"',
    "lone low surrogate": b'["\\udc00x"]',
    "surrogate in UTF-8": b'"\xed\xa0\x80"',
    "invalid UTF-8": b'["\xff"]',
    "overlong UTF-8": b'"\xc0\x80"',
    "raw newline in string": b'"a\nb"',
    "NUL": b"1\0",
    "byte order mark": b"\xef\xbb\xbf[1]",
    "leading zero": b"01",
    "huge exponent": b"1e999",
    "a megabyte of digits": b"1" * 1_000_000,
    "too deep": nested(10_000),
    "a little too deep": nested(MAX_DEPTH + 2),
    "deep object": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "never closed": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
def test_broken_json_is_refused_and_said_to_be(body: bytes) -> None:
    """No reader ever meets a value that some JSON parser rejects; nothing but the one exception comes out."""
    with pytest.raises(JsonRefused, match="not valid JSON") as caught:
        split_json(body, PLENTY)
    assert caught.value.line is None
    assert len(caught.value.detail) < 200


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_empty_body_is_refused(body: bytes) -> None:
    """Nothing is not a JSON value."""
    with pytest.raises(JsonRefused, match="empty"):
        split_json(body, PLENTY)


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:1e-.\\u truefalsn\n', max_size=40).map(str.encode))
def test_any_bytes_are_cut_into_valid_json_or_refused(body: bytes) -> None:
    """Whatever is sent, what gets through is JSON for Python's parser too, and says the same."""
    try:
        values = split_json(body, PLENTY)
    except JsonRefused:
        return
    whole = json.loads(body)
    assert [json.loads(value) for value in values] == (whole if isinstance(whole, list) else [whole])


def test_more_events_than_allowed_are_refused() -> None:
    """The bound counts events, not bytes, and exactly it still passes."""
    assert len(split_json(b"[1,2,3]", 3)) == 3
    with pytest.raises(TooManyEvents, match="at most 3 events fit in one append, the array has 4"):
        split_json(b"[1,2,3,4]", 3)


# Depth


def test_deepest_event_is_read_back_from_its_page() -> None:
    """An event as deep as allowed still parses where a page wraps it in one more level."""
    deepest = nested(MAX_DEPTH)
    assert split_json(b"[1," + deepest + b",2]", PLENTY) == [b"1", deepest, b"2"]
    assert check_json(deepest) == deepest
    assert split_ndjson(deepest, PLENTY) == [deepest]
    assert split_json(join_json([deepest]), PLENTY) == [deepest]


@pytest.mark.parametrize("value", [nested(MAX_DEPTH + 1), b'{"a":' + nested(MAX_DEPTH) + b"}"])
def test_event_one_level_too_deep_is_refused_before_it_spoils_a_page(value: bytes) -> None:
    """What could be stored but not be read back as part of a page is refused."""
    for refuse in (check_json, lambda body: split_ndjson(body, PLENTY)):
        with pytest.raises(JsonRefused, match="depth limit"):
            refuse(value)


def test_deep_caller_cuts_deep_array_all_the_same() -> None:
    """How deep the caller's own stack is does not decide what is refused."""

    def from_depth(frames: int) -> list[bytes]:
        return from_depth(frames - 1) if frames else split_json(nested(MAX_DEPTH + 1), PLENTY)

    limit = sys.getrecursionlimit()
    assert from_depth(limit // 2) == [nested(MAX_DEPTH)]
    assert sys.getrecursionlimit() == limit


def test_collector_is_on_again_after_a_refusal() -> None:
    """A refused body leaves the interpreter as it was."""
    with pytest.raises(JsonRefused):
        split_json(b"[", PLENTY)
    with pytest.raises(JsonRefused):
        split_ndjson(b"[", PLENTY)
    assert gc.isenabled()


# NDJSON


@given(
    st.lists(st.tuples(SPACE.map(lambda space: space.replace(b"\n", b"")), VALUES), max_size=6),
    st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n \t\r\n"]),
    st.booleans(),
)
def test_lines_are_events_byte_for_byte(parts: list[tuple[bytes, bytes]], end: bytes, is_ended: bool) -> None:
    """LF, CRLF, blank lines and a missing last line end make no difference; an array on a line is one event."""
    values = [value.replace(b"\n", b" ").replace(b"\r", b" ") for _, value in parts]
    body = end.join(space + value for (space, _), value in zip(parts, values, strict=True))
    assert split_ndjson(body + (end if is_ended else b""), PLENTY) == values


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b"{", 1),
        (b"1\n2\n{]\n4", 3),
        (b"\n\r\n1\r\n\r\nNaN\r\n", 5),
        (b"1\r2", 1),
        (b'"a\nb"', 1),
        ('1\n"\u2028" 2'.encode(), 2),
        (b"1\n\xef\xbb\xbf2", 2),
        (b'1\n"\\ud800"', 2),
        (b"1\n" + nested(2_000), 2),
    ],
)
def test_bad_line_is_named_by_its_number(body: bytes, line: int) -> None:
    """The caller learns which line to mend, counted as editors count, blank lines too."""
    with pytest.raises(JsonRefused, match=f"line {line} is not valid JSON") as caught:
        split_ndjson(body, PLENTY)
    assert caught.value.line == line


def test_first_line_too_many_is_named() -> None:
    """Blank lines are no events; exactly the bound still passes."""
    assert split_ndjson(b"1\n\n2\n", 2) == [b"1", b"2"]
    with pytest.raises(TooManyEvents) as caught:
        split_ndjson(b"1\n\n2\n3", 2)
    assert caught.value.line == 4


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\n"])
def test_blank_lines_alone_are_no_events(body: bytes) -> None:
    """Whether that is an error is for the caller to say."""
    assert split_ndjson(body, PLENTY) == []


# Cost

MEGABYTE = 1_000_000
HEAVY = {
    "tiny events": b"[" + b"1," * 500_000 + b"1]",
    "tiny arrays": b"[" + b"[]," * 333_000 + b"1]",
    "one event of tiny objects": b"[[" + b"{}," * 333_000 + b"1]]",
    "deep and dense": b"[" * 1_000 + b"[]," * 333_000 + b"1" + b"]" * 1_000,
    "many keys": b"{" + b",".join(b'"k%d":1' % n for n in range(90_000)) + b"}",
    "escapes": b'["' + b"\\u0101" * 166_000 + b'"]',
    "long fractions": b"[" + (b"0." + b"1" * 780 + b",") * 1_270 + b"1]",
    "unclosed": b"[" * MEGABYTE,
}


@pytest.mark.parametrize("body", HEAVY.values(), ids=HEAVY.keys())
def test_heavy_body_costs_less_than_fifty_ms_a_megabyte(body: bytes) -> None:
    """No body of a megabyte holds the event loop for long, taken or refused."""

    def cut() -> None:
        try:
            split_json(body, PLENTY)
        except JsonRefused:
            return

    assert fastest_s(cut) < bound(0.05 * len(body) / MEGABYTE)


@pytest.mark.parametrize("body", [b"\n" * MEGABYTE, b"1\n" * (MEGABYTE // 2)], ids=["blank", "tiny"])
def test_heavy_ndjson_costs_less_than_fifty_ms_a_megabyte(body: bytes) -> None:
    """Lines without end cost no more than one value of that size."""

    def cut() -> None:
        try:
            split_ndjson(body, PLENTY)
        except JsonRefused:
            return

    assert fastest_s(cut) < bound(0.05 * len(body) / MEGABYTE)


@pytest.mark.parametrize(("split", "separator"), [(split_json, b","), (split_ndjson, b"\n")])
def test_cost_of_cutting_grows_with_the_events(split: Callable[[bytes, int], list[bytes]], separator: bytes) -> None:
    """Ten times the events cost about ten times the time; a quadratic cut would cost a hundred."""

    def body(count: int) -> bytes:
        lines = separator.join(b'{"n":%d,"text":"%b"}' % (n, b"x" * 80) for n in range(count))
        return b"[" + lines + b"]" if separator == b"," else lines

    few, many = body(1_000), body(10_000)
    assert len(split(many, PLENTY)) == 10_000
    few_s = fastest_s(lambda: split(few, PLENTY))
    many_s = fastest_s(lambda: split(many, PLENTY))
    assert many_s < few_s * 10 * max(3.0, min(SLACK, 8.0))
