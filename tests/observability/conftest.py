"""Fixtures of the tests of observability."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from observability.request_id import request_id


@pytest.fixture(autouse=True)
def _outside_of_a_request() -> Iterator[None]:
    """Begin without an id: what calls the middleware in the tests' own context leaves the last one there."""
    token = request_id.set("")
    yield
    request_id.reset(token)


@pytest.fixture
def with_logging_restored() -> Iterator[None]:
    """Put the root logger back as it was."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
