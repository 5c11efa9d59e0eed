"""The event loop: uvloop where it is installed, chosen before daphne makes its own on import."""

from __future__ import annotations

import asyncio
import sys
import warnings
from typing import Any

__all__ = ["choose_loop", "loop_name", "reactor_loop"]


def choose_loop(name: str) -> None:
    """Make `uvloop` or `asyncio` the loop that daphne will take.

    Args:
        name: `auto` takes uvloop where it can be imported.

    Raises: ImportError: uvloop was asked for by name and is not installed. RuntimeError: daphne has a loop by now.
    """
    if "daphne.server" in sys.modules:
        raise RuntimeError("daphne was imported before its loop was chosen")
    if name == "asyncio":
        return
    try:
        import uvloop
    except ImportError:
        if name == "uvloop":
            raise
        return
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def reactor_loop() -> asyncio.AbstractEventLoop:
    """The loop that Twisted's reactor runs on, to be used before the reactor runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # importing daphne swaps a reactor that somebody else has installed
        import daphne.server  # noqa: F401 - makes asyncio's reactor the one that the next line gets
    from twisted.internet import reactor

    typed: Any = reactor
    loop: asyncio.AbstractEventLoop = typed._asyncioEventloop
    return loop


def loop_name(loop: asyncio.AbstractEventLoop) -> str:
    """`uvloop` or `asyncio`, for the operator."""
    return "uvloop" if type(loop).__module__.startswith("uvloop") else "asyncio"
