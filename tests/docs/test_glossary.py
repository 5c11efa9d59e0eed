"""The glossary and the words in use stay in step."""

from __future__ import annotations

import re

import pytest

from streaming.ends import EndReason
from tests.docs.pages import ROOT, pages

GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
ROWS = [line.split(" | ") for line in GLOSSARY.splitlines() if line.startswith("| ")]
WORDS = {word.strip(" |`") for row in ROWS for word in re.split(r"[;,]", row[0])}
AVOIDED = {"topic": "stream", "subscriber": "reader", "consumer": "reader", "backlog": "window", "shutdown": "drain"}
"""Words that would mean what another one means here. Others of the table have uses of their own in English."""
EXPLAINED = {"docs/glossary.md"}


def test_glossary_has_the_words_that_the_code_is_made_of() -> None:
    """Modules and values named after a concept are explained."""
    for module in (
        "streaming/feed/follower.py",
        "streaming/feed/feed.py",
        "streaming/feed/window.py",
        "streaming/feed/push.py",
    ):
        assert (ROOT / module).is_file()
        assert module.rpartition("/")[2].removesuffix(".py") in WORDS
    assert EndReason.__name__ in GLOSSARY
    assert {"stream", "event", "append", "offset", "generation", "incarnation", "pin", "bucket"} <= WORDS


@pytest.mark.parametrize("word", AVOIDED)
def test_word_that_the_glossary_replaces_is_not_used(word: str) -> None:
    """One word for one thing, in all that people read."""
    assert word in GLOSSARY
    used = [
        f"{page.relative_to(ROOT)}: {line.strip()}"
        for page in pages()
        if str(page.relative_to(ROOT)) not in EXPLAINED
        for line in page.read_text(encoding="utf-8").splitlines()
        if re.search(rf"\b{word}s?\b(?![-_])", re.sub(r"`[^`]*`", "", line), re.IGNORECASE)
    ]
    assert not used, f"say {AVOIDED[word]}"
