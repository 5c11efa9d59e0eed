"""The site's own settings, open, in a data directory that is gone after the run.

The environment of whoever runs the tests must not change them, so every variable of the site is set aside first.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

_KEPT = {"STREAMSITE_TEST_HEAVY", "STREAMSITE_TEST_SLACK"}

for _name in [name for name in os.environ if name.startswith("STREAMSITE_") and name not in _KEPT]:
    del os.environ[_name]
for _name in ("REDIS_URL", "DATABASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_EXPORTER"):
    os.environ.pop(_name, None)

# In /tmp whatever TMPDIR says: a Unix socket's path has 107 bytes.
_data_dir = tempfile.mkdtemp(prefix="streamsite-tests-", dir="/tmp")
atexit.register(shutil.rmtree, _data_dir, ignore_errors=True)
os.environ["STREAMSITE_ENV"] = "development"
os.environ["STREAMSITE_DATA_DIR"] = _data_dir

from streamsite.settings import *  # noqa: E402, F403

ALLOWED_HOSTS = ["*"]
# The slow hasher is for real passwords.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
