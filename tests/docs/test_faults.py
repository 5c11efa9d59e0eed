"""The page of faults names exactly the tests that there are."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

FAULTS = ROOT / "tests" / "faults"


def test_each_number_has_its_row_and_its_file() -> None:
    """FT5 in a name leads to what it means."""
    page = (FAULTS / "README.md").read_text(encoding="utf-8")
    rows = {int(number): file for number, file in re.findall(r"^\| \[FT(\d+)\]\(([^)]+)\)", page, re.MULTILINE)}
    assert sorted(rows.values()) == sorted(path.name for path in FAULTS.glob("test_ft*.py"))
    for number, file in rows.items():
        assert file.startswith(f"test_ft{number:02d}_")
    used = {int(number) for path in FAULTS.rglob("*.py") for number in re.findall(r"\bFT(\d+)\b", path.read_text())}
    assert used <= set(rows)
