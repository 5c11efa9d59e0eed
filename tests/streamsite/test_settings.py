"""What Django makes of the settings, in a process of its own: production as an operator gets it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadlines import bound

ROOT = Path(__file__).resolve().parents[2]
_SHOW = """
import json, django
from django.conf import settings
django.setup()
from django.core import checks
names = {names!r}
found = [f"{{message.id}} {{message.msg}}" for message in checks.run_checks(include_deployment_checks={deploy!r})]
print(json.dumps({{"checks": found}} | {{name: getattr(settings, name) for name in names}}, default=str))
"""


def _settings(data_dir: Path, *names: str, deploy: bool = False, **environ: str) -> dict[str, Any]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSITE_")}
    own |= {"DJANGO_SETTINGS_MODULE": "streamsite.settings", "STREAMSITE_DATA_DIR": str(data_dir)} | environ
    code = _SHOW.format(names=names, deploy=deploy)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True, text=True, timeout=bound(10), check=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_production_is_closed_and_safe(tmp_path: Path) -> None:
    """Nothing has to be set for the safe values; only what depends on the host is left to say."""
    names = ("DEBUG", "ALLOWED_HOSTS", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE", "STREAMING")
    found = _settings(tmp_path, *names)
    assert found["DEBUG"] is False
    assert found["ALLOWED_HOSTS"] == []
    assert found["SESSION_COOKIE_SECURE"] is found["CSRF_COOKIE_SECURE"] is True
    assert found["STREAMING"]["OPEN"] is False
    assert found["checks"] == []


def test_deployment_checks_leave_only_what_the_proxy_decides(tmp_path: Path) -> None:
    """Redirecting to TLS and HSTS beyond this host need to know what stands in front."""
    found = _settings(tmp_path, deploy=True, STREAMSITE_ALLOWED_HOSTS="streams.example")
    known = {"security.W005", "security.W008", "security.W021"}
    assert {line.split()[0] for line in found["checks"]} <= known


def test_development_is_usable_over_http_on_loopback(tmp_path: Path) -> None:
    """A Secure cookie would never come back."""
    found = _settings(tmp_path, "SESSION_COOKIE_SECURE", "ALLOWED_HOSTS", "DEBUG", STREAMSITE_ENV="development")
    assert found["SESSION_COOKIE_SECURE"] is False
    assert "localhost" in found["ALLOWED_HOSTS"]
    assert found["DEBUG"] is False


@pytest.mark.parametrize(
    ("url", "engine"),
    [("", "django_prometheus.db.backends.sqlite3"), ("sqlite:////tmp/other.sqlite3", "django.db.backends.sqlite3")],
)
def test_database_is_sqlite_in_the_data_directory_unless_said_otherwise(tmp_path: Path, url: str, engine: str) -> None:
    """DATABASE_URL is what every host sets."""
    database = _settings(tmp_path, "DATABASES", DATABASE_URL=url)["DATABASES"]["default"]
    assert database["ENGINE"] == engine
    assert (str(tmp_path) in database["NAME"]) is (not url)


def test_given_secret_key_is_used_and_none_is_made(tmp_path: Path) -> None:
    """Several machines behind one name share their sessions."""
    found = _settings(tmp_path, "SECRET_KEY", STREAMSITE_SECRET_KEY="given")
    assert found["SECRET_KEY"] == "given"
    assert not (tmp_path / "secret_key").exists()
