"""What every test run needs; fixtures that some tests share are in tests/support/."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """End the embedded Redis of the tests' own data directory, which whatever first used it has started."""
    yield
    from django.conf import settings

    from streaming.private_redis import PrivateRedis

    PrivateRedis(settings.STREAMING["DATA_DIR"]).stop()
