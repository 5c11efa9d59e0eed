"""The site's settings for mypy, whose Django plugin sets Django up: its data directory is in mypy's own cache.

Not tests.settings: mypy ends without running exit handlers, and would leave a temporary directory behind each time.
"""

from __future__ import annotations

import os

os.environ["STREAMSITE_ENV"] = "development"
os.environ["STREAMSITE_DATA_DIR"] = ".mypy_cache/django"

from streamsite.settings import *  # noqa: F403
