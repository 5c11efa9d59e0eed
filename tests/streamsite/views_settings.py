"""The site with the views of `tests.streamsite.views` in the place of its own: for tests of the server as a process."""

from __future__ import annotations

from streamsite.settings import *  # noqa: F403

ROOT_URLCONF = "tests.streamsite.views"
