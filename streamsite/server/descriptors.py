"""How many descriptors the process may open: each connection is one."""

from __future__ import annotations

import resource

__all__ = ["descriptor_limit", "raise_descriptor_limit"]

_ENOUGH = 1 << 20
"""Where the hard limit is none, or absurd: some libraries loop over all possible descriptors."""


def descriptor_limit() -> int:
    """The soft limit after it is raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft, _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH))


def raise_descriptor_limit() -> None:
    """Raise the soft limit to the hard one; children inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor_limit(), hard))
