"""docs/reference/limits.md says what the code says; that the limits hold is in the tests of what they limit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from streaming.api.problems import TITLES
from streaming.conf import StreamingSettings
from tests.streaming.api.limits import LIMITS, document_rows

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "limits.md"
NO_LIMITS = {
    "redis_url",
    "data_dir",
    "redis_server",
    "redis_maxmemory",
    "open",
    "cors_origins",
    "durability",
    "retention",
}
"""Settings that bound nothing that a client could pass."""
ALL = [limit for limits in LIMITS.values() for limit in limits]


def test_page_has_exactly_the_limits_of_the_code() -> None:
    """A default that changes changes the page."""
    block = PAGE.read_text(encoding="utf-8").partition("<!-- limits -->\n")[2].partition("<!-- end of limits -->")[0]
    assert block.strip().splitlines() == "\n".join(document_rows()).strip().splitlines()


def test_every_setting_that_limits_is_in_the_table_once() -> None:
    """A new one needs its row."""
    named = [limit.setting for limit in ALL if limit.setting]
    assert sorted(named) == sorted({field.name for field in dataclasses.fields(StreamingSettings)} - NO_LIMITS)


def test_answers_name_problems_that_there_are() -> None:
    """Their links lead somewhere."""
    for limit in ALL:
        for part in limit.answer.split("errors.md#")[1:]:
            assert part.partition(")")[0] in TITLES
