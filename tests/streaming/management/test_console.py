"""What is said on stderr, and text made safe for a terminal."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.client import NotSent
from streaming.management.console import Notices, neutralise, neutralise_json


@given(st.text())
def test_neutralised_text_steers_no_terminal(text: str) -> None:
    """No control character but tab and line feed is left; printable text is untouched."""
    safe = neutralise(text)
    assert all(character in "\t\n" or not (character < " " or "\x7f" <= character < "\xa0") for character in safe)
    if text.isascii() and text.isprintable():
        assert safe == text


@given(st.text())
def test_neutralised_json_means_the_same(text: str) -> None:
    """The escapes that are put in stand for the same characters."""
    safe = neutralise_json(json.dumps(text, ensure_ascii=False))
    assert json.loads(safe) == text
    assert not any("\x7f" <= character < "\xa0" for character in safe)


def test_wait_is_mentioned_once_it_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    """A single failure is no news, a lasting one is told once, and its end is told."""
    notices = Notices("publish")
    notices.waiting(NotSent("refused"), 1, 0.1)
    notices.recovered()
    assert capsys.readouterr().err == ""
    for attempt in range(1, 9):
        notices.waiting(NotSent("refused"), attempt, 0.1)
    notices.recovered()
    assert capsys.readouterr().err == "publish: waiting for the server: refused\npublish: the server is back\n"


def test_silent_notices_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """--verbosity 0 is silence."""
    Notices("tail", is_silent=True).notice("x")
    assert capsys.readouterr().err == ""
