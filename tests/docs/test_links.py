"""Links lead somewhere, pages are found from the index, and records keep their form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, links, pages

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}
MAX_RECORD_LINES = 40
"""A decision record is a page at most."""


@pytest.mark.parametrize("name", PAGES)
def test_link_inside_the_repository_leads_to_a_file_and_a_heading(name: str) -> None:
    """No link of any page is dead, no fragment points at a heading that is gone."""
    page = PAGES[name]
    dead = [target for target in links(page) if not _leads_somewhere(page, target)]
    assert not dead


def test_every_page_of_docs_can_be_reached_from_the_readme() -> None:
    """A page that nothing links to is read by nobody."""
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        waiting += [_target(page, link)[0] for link in links(page) if ":" not in link]
    assert set(ROOT.glob("docs/**/*.md")) <= seen


@pytest.mark.parametrize("record", sorted(ROOT.glob("docs/adr/*.md")), ids=lambda record: record.stem)
def test_decision_record_has_its_number_and_its_parts_on_one_page(record: Path) -> None:
    """A record says what was asked, what was measured, what was decided, rejected, and what would change it."""
    text = record.read_text(encoding="utf-8")
    assert text.startswith(f"# {record.stem[:4]} ")
    for part in ("Question", "Facts", "Decision", "Rejected", "What would change our mind"):
        assert f"**{part}.**" in text
    assert len(text.splitlines()) <= MAX_RECORD_LINES
    numbers = [path.stem[:4] for path in sorted(ROOT.glob("docs/adr/*.md"))]
    assert numbers == [f"{number:04d}" for number in range(1, len(numbers) + 1)]


def test_readme_begins_with_two_commands_and_says_that_the_log_lives_in_memory() -> None:
    """The first thing that a newcomer can type is `make run`, and the first page of the docs is honest."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"```sh\n(.*?)\n```", readme, re.DOTALL)
    assert commands[0] == "make run"
    assert "manage.py publish" in commands[1]
    for page in ("README.md", "docs/README.md"):
        assert "The log lives in memory" in PAGES[page].read_text(encoding="utf-8")


def _leads_somewhere(page: Path, link: str) -> bool:
    if ":" in link:
        return True  # another site: not asked from here
    target, fragment = _target(page, link)
    if not target.exists():
        return False
    return not fragment or target.suffix != ".md" or fragment in anchors(target)


def _target(page: Path, link: str) -> tuple[Path, str]:
    path, _, fragment = link.partition("#")
    return ((page.parent / path).resolve() if path else page), fragment
