"""The README's tour and the pages that can be typed along, typed along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, steps
from tests.docs.shells import Shells
from tests.support.deadlines import bound

IN_THE_CLONE = ["README.md", "docs/tutorial.md"]


@pytest.mark.slow
@pytest.mark.timeout(bound(60))
@pytest.mark.parametrize("page", IN_THE_CLONE)
def test_page_pasted_into_shells_does_what_it_says(page: str) -> None:
    """A newcomer who pastes the page, the kill -9 too, sees what it shows."""
    found = steps(ROOT / page)
    assert len(found) > 5
    with Shells() as shells:
        shells.follow(found)


@pytest.mark.slow
@pytest.mark.timeout(bound(60))
def test_foreign_django_project_serves_streams_as_the_guide_says(tmp_path: Path) -> None:
    """The guide for existing projects, followed from an empty directory, ends with a stream that is read."""
    with Shells(tmp_path) as shells:
        shells.env["PYTHONPATH"] = str(ROOT)
        shells.follow(steps(ROOT / "docs/how-to/use-in-a-django-project.md"))
