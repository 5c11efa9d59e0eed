"""Which loop it is: each case in a process of its own, for the choice is made once."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.streamsite.server.served import ROOT
from tests.support.deadlines import bound


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=bound(10), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "expected"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")])
def test_loop_of_the_reactor_is_the_chosen_one(name: str, expected: str) -> None:
    """That is, uvloop where it is installed."""
    code = f"from streamsite.server.loop import *; choose_loop({name!r}); print(loop_name(reactor_loop()))"
    assert run(code) == expected


def test_without_uvloop_auto_takes_asyncio_and_a_name_is_an_error() -> None:
    """Whoever asks for it by name wants to know."""
    code = (
        "import sys; sys.modules['uvloop'] = None\n"
        "from streamsite.server.loop import *\n"
        "try: choose_loop('uvloop')\n"
        "except ImportError: print('error')\n"
        "choose_loop('auto'); print(loop_name(reactor_loop()))"
    )
    assert run(code).split() == ["error", "asyncio"]


def test_choice_that_comes_too_late_is_an_error() -> None:
    """The import of daphne makes its loop: a later choice would be ignored."""
    code = (
        "import daphne.server\n"
        "from streamsite.server.loop import *\n"
        "try: choose_loop('auto')\n"
        "except RuntimeError: print('error')"
    )
    assert run(code) == "error"
