"""Our daphne: what has to be different from the stock server, each difference with the test that shows why."""

from __future__ import annotations

from .server import Server, reactor_loop

__all__ = ["Server", "reactor_loop"]
