"""Only the versions that the extension was written for are served with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streamsite.server import versions
from streamsite.server.versions import VersionError, check_versions

ROOT = Path(__file__).resolve().parents[3]


def test_installed_versions_are_those_it_was_written_for() -> None:
    """And those that requirements.txt pins."""
    check_versions()
    pinned = (ROOT / "requirements.txt").read_text()
    for package, version in versions.WRITTEN_FOR.items():
        assert re.search(rf"^{package}(\[[a-z0-9,]+\])?=={re.escape(version)}\b", pinned, re.IGNORECASE | re.MULTILINE)


def test_another_version_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is overridden may have another meaning there; the message says what to install, or what to run instead."""
    monkeypatch.setitem(versions.WRITTEN_FOR, "daphne", "9.9.9")
    with pytest.raises(VersionError, match=r"daphne .* is installed.*9\.9\.9.*daphne streamsite\.asgi:application"):
        check_versions()
