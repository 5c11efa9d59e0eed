"""Request ids and trace contexts: what is taken as it is, and what is replaced."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from observability.request_id import accept, accept_traceparent, current, request_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize("raw", ["abcdefgh", "A.b_c:d-9", "0" * 32, "x" * 128])
def test_harmless_id_is_taken(raw: str) -> None:
    """A client's own id goes on unchanged, nginx's 32 hex digits included."""
    assert accept(raw) == (raw, None)


@pytest.mark.parametrize(
    "raw", ["", "short67", "x" * 129, "abc defgh", "abcdefgh\n", "abcdefgh\r\nX: y", "äbcdefgh", "abcdefgh,ijklmnop"]
)
def test_unsafe_id_is_replaced_and_kept_for_the_log(raw: str) -> None:
    """What is too short, too long or could forge something becomes a UUID4; the log still shows what came."""
    accepted = accept(raw)
    assert uuid.UUID(accepted.id).version == 4
    assert accepted.client_request_id == raw[:128]


def test_huge_id_is_kept_cut() -> None:
    """Ten kilobytes of id do not travel into the log."""
    assert accept("x" * 10_000).client_request_id == "x" * 128


def test_missing_id_is_made() -> None:
    """Without a header the id is a UUID4, a new one each time."""
    first, second = accept(None), accept(None)
    assert uuid.UUID(first.id).version == 4
    assert first.client_request_id is None
    assert first.id != second.id


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (f"cc-{TRACE}-{SPAN}-0b-what-the-future-may-be", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
        (None, ""),
        ("", ""),
        (f"00-{TRACE}-{SPAN}-01-more", ""),
        (f"ff-{TRACE}-{SPAN}-01", ""),
        (f"00-{'0' * 32}-{SPAN}-01", ""),
        (f"00-{TRACE}-{'0' * 16}-01", ""),
        (f"00-{TRACE.upper()}-{SPAN}-01", ""),
        (f"00-{TRACE}-{SPAN}-1", ""),
        (f"00-{TRACE}-{SPAN}-01\n", ""),
        (f"cc-{TRACE}-{SPAN}-01.no-dash", ""),
    ],
)
def test_traceparent_is_checked(raw: str | None, expected: str) -> None:
    """A traceparent is valid version 00, a later one read as 00, or nothing."""
    assert accept_traceparent(raw) == expected


async def test_id_is_visible_in_the_tasks_of_its_request_only() -> None:
    """Two requests at once each see their own id, and nothing outside sees any."""

    async def request(name: str) -> str:
        request_id.set(name)
        await asyncio.sleep(0)
        return await asyncio.create_task(child())

    async def child() -> str:
        return current()

    outside = current()
    answers = await asyncio.gather(asyncio.create_task(request("one")), asyncio.create_task(request("two")))
    assert list(answers) == ["one", "two"]
    assert current() == outside
