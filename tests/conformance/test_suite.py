"""The protocol's own conformance suite, whole, against the real server on a real socket."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site

from . import node

TESTS = 332
"""Of version 0.3.6. A vitest that collects nothing is green too, so the number is part of the promise."""
SUBSCRIPTION_TESTS = 6
"""Sections 6 and 7 of the protocol, which are left out."""
LONG_POLL_S = 3.0
"""The suite sits through several whole polls."""


@pytest.mark.conformance
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_conformance_suite_passes_whole(tmp_path: Path, workers: str) -> None:
    """Every test of the suite that needs no subscriptions runs, and passes."""
    node.install()
    with Site(tmp_path, env={"STREAMSITE_LONG_POLL_S": str(LONG_POLL_S), "STREAMSITE_WORKERS": workers}) as site:
        result = node.run_suite(site.url, LONG_POLL_S, tmp_path / "report.json")
    listing = "\n".join(f"  {name}: {why}" for name, why in result.failed.items())
    assert not result.failed, f"{len(result.failed)} of {result.ran} tests failed:\n{listing}"
    assert (result.ran, len(result.skipped)) == (TESTS, SUBSCRIPTION_TESTS)
