"""The Makefile's promises that can be read without running everything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_OF_AN_OUTER_MAKE = frozenset({"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR"})


def _make(*arguments: str) -> str:
    # Under `make test` the outer make's variables would make this one a sub-make, which says what directory it enters.
    environ = {name: value for name, value in os.environ.items() if name not in _OF_AN_OUTER_MAKE}
    done = subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def test_make_alone_lists_the_targets() -> None:
    """Nothing happens by accident."""
    listed = _make()
    for target in ("run", "test", "check", "faults"):
        assert f"make {target} " in listed


def test_run_starts_serve_in_development_without_root() -> None:
    """No package manager, no question; serve is the last process, so that Ctrl-C reaches it."""
    recipe = _make("--dry-run", "run")
    assert recipe.rstrip().endswith("manage.py serve")
    assert "apt-get" not in recipe
    assert "sudo" not in recipe


@pytest.mark.parametrize(
    "arguments", [("STREAMSITE_PORT=9000",), ("STREAMSITE_ENV=production", "STREAMSITE_PORT=9000")]
)
def test_settings_can_follow_the_target(arguments: tuple[str, ...]) -> None:
    """Make puts what it is given into the environment of its recipes."""
    shown = _make("--no-print-directory", "--eval", "show: ; @env", "show", *arguments)
    assert set(arguments) <= set(shown.splitlines())


def test_ci_runs_nothing_but_make_test() -> None:
    """What is not in `make test` is not checked anywhere."""
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-1] == "exec make test"
    assert "check" in _make("--dry-run", "--print-data-base", "test").split("\ntest:", 1)[1].splitlines()[0]
