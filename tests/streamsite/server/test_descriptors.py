"""The limit of descriptors."""

from __future__ import annotations

import resource

import pytest

from streamsite.server.descriptors import descriptor_limit, raise_descriptor_limit


@pytest.mark.parametrize(
    ("soft", "hard", "limit"),
    [
        (1024, 4096, 4096),
        (1024, resource.RLIM_INFINITY, 1 << 20),
        (1024, 1 << 30, 1 << 20),
        (1 << 21, 1 << 30, 1 << 21),
    ],
)
def test_soft_limit_is_raised_to_the_hard_one(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, limit: int
) -> None:
    """But not beyond what is enough, for some libraries look at each; and never lowered."""
    set_to = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: set_to.append(limits))
    assert descriptor_limit() == limit
    raise_descriptor_limit()
    assert set_to == [(limit, hard)]
