"""The pinned requirements are for every machine, and hold what their sources ask for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements", "requirements-dev"]


def _pins(name: str) -> dict[str, str]:
    text = (ROOT / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", FILES)
def test_no_index_or_path_of_a_machine(name: str) -> None:
    """(y): pip-compile writes the index and the wheel directory of whoever ran it, unless told not to."""
    lines = [line for line in (ROOT / f"{name}.txt").read_text().splitlines() if not line.lstrip().startswith("#")]
    assert not [line for line in lines if "://" in line or line.startswith(("-i", "--index", "--extra", "--find", "/"))]


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_with_a_hash(name: str) -> None:
    """What is installed is what was tested, byte for byte."""
    text = (ROOT / f"{name}.txt").read_text()
    blocks = re.split(r"\n(?=\S)", text)
    requirements = [block for block in blocks if block[:1].isalnum()]
    assert requirements
    assert all("==" in block and "--hash=sha256:" in block for block in requirements)


@pytest.mark.parametrize("name", FILES)
def test_compiled_file_is_that_of_its_source(name: str) -> None:
    """A line that was added by hand has been compiled, and has its reason."""
    pins = _pins(name)
    for line in (ROOT / f"{name}.in").read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            match = re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9,]+\])?==(\S+) +# \S.*", line)
            assert match, f"no reason or no pin: {line}"
            assert pins[match[1]] == match[2]


def test_tests_run_on_what_production_runs_on() -> None:
    """Both files agree on every package that they share."""
    run, dev = _pins(FILES[0]), _pins(FILES[1])
    assert {name: dev[name] for name in run.keys() & dev.keys()} == {
        name: run[name] for name in run.keys() & dev.keys()
    }
