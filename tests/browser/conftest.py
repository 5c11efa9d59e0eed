"""A Chromium for each module of this package.

Playwright's sync API keeps an event loop running in the main thread for as long as it is open, under which no test of
pytest-asyncio could start its own: so it is open for a module at a time, and the modules here have no async tests.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from tests.support.deadlines import bound
from tests.support.site import Site

_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
"""Without the network flags Chromium asks for updates and experiments at every start."""
_ACTION_S = 5.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no chromium on the PATH; on Debian: apt-get install chromium")
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else _FLAGS  # its sandbox refuses to run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(flags))
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile, whose waits are bounded."""
    context = browser.new_context()
    context.set_default_timeout(bound(_ACTION_S) * 1000)
    yield context
    context.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One real server for a module, which asks readers to come back soon."""
    with Site(
        tmp_path_factory.mktemp("site"), env={"STREAMSITE_SSE_RETRY_MS": "50", "STREAMSITE_WORKERS": "2"}
    ) as site:
        yield site
