"""The Dockerfile, as far as it can be tested without a container: its RUN lines, in a clean directory."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.deadlines import bound

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text()


def _lines(instruction: str) -> list[str]:
    return re.findall(rf"^{instruction} (.+)$", TEXT, re.MULTILINE)


def test_image_sets_no_environment_and_runs_as_nobody_special() -> None:
    """Production is closed because nothing was said; root is not needed for anything."""
    assert _lines("ENV") == []
    assert _lines("USER") == ["10001"]
    assert "STREAMSITE_ENV" not in TEXT


def test_it_says_that_it_is_untested_as_an_image() -> None:
    """No promise without a test."""
    assert TEXT.startswith("# Untested as an image")


def test_what_it_copies_is_there_and_not_ignored() -> None:
    """The ignore file lets through what the site needs, and nothing else."""
    let_through = {
        line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert {"manage.py", "requirements.txt", "observability", "streaming", "streamsite"} <= let_through
    assert all((ROOT / name).exists() for name in let_through)


@pytest.mark.slow
def test_run_lines_make_a_site_that_starts(tmp_path: Path) -> None:
    """Every RUN line that needs no root, in the order of the file; then the command is asked for its help."""
    for name in ("manage.py", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("observability", "streaming", "streamsite"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("STREAMSITE_", "DJANGO_", "PYTHON"))
    }
    for line in _lines("RUN"):
        if line.startswith(("useradd", "install -d")):  # need root
            continue
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=bound(120), check=False
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    (command,) = _lines("CMD")
    assert "manage.py migrate" in command
    for subcommand in (["migrate", "--verbosity", "0"], ["serve", "--help"]):
        done = subprocess.run(
            [".venv/bin/python", "manage.py", *subcommand],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            timeout=bound(20),
            check=False,
        )
        assert done.returncode == 0, done.stderr
