"""Fixtures of the tests of observability."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture
def with_logging_restored() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
