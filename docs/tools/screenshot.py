"""Takes the picture of the viewer page: the output of a real program, live.

    make run
    vmstat 1 | .venv/bin/python manage.py publish host/vmstat
    .venv/bin/python -m docs.tools.screenshot http://127.0.0.1:8000/streams/host/vmstat docs/images/viewer.png

Needs Chromium and the requirements of the tests.
"""

from __future__ import annotations

import argparse
import os
import shutil

from playwright.sync_api import sync_playwright

__all__ = ["take"]

WIDTH, HEIGHT = 1240, 520
EVENTS = 12
"""Waited for before the picture is taken."""


def take(url: str, path: str) -> None:
    """Open the page, wait until events have come, take its picture."""
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses to run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, device_scale_factor=1)
        page.goto(url)
        page.locator("#rows > li").nth(EVENTS).wait_for(timeout=60_000)
        page.keyboard.press("End")
        page.wait_for_timeout(2500)  # two more lines of a program that prints one a second
        page.screenshot(path=path)
        browser.close()


def main() -> None:
    """Take the picture of an address."""
    parser = argparse.ArgumentParser(description="Take the picture of a viewer page.")
    parser.add_argument("url")
    parser.add_argument("path")
    options = parser.parse_args()
    take(options.url, options.path)


if __name__ == "__main__":
    main()
