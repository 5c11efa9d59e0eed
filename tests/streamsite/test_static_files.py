"""Style sheets and scripts."""

from __future__ import annotations

import pytest
from django.test import Client

STYLE = "/static/admin/css/base.css"


def test_file_of_an_app_is_served_with_type_and_age() -> None:
    """The admin has its looks without collectstatic and without DEBUG."""
    answer = Client().get(STYLE)
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/css")
    assert answer["Cache-Control"] == "public, max-age=3600"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_unchanged_file_is_304() -> None:
    """A reload costs no body."""
    seen = Client().get(STYLE)["Last-Modified"]
    assert Client().get(STYLE, headers={"If-Modified-Since": seen}).status_code == 304


@pytest.mark.parametrize(
    "path",
    [
        "admin/css/none.css",
        "admin/css",
        "../settings.py",
        "admin/../../settings.py",
        "%2e%2e/settings.py",
        "/etc/passwd",
    ],
)
def test_what_is_no_file_of_an_app_is_not_served(path: str) -> None:
    """Nothing outside the apps' own directories (CWE-22)."""
    assert Client().get(f"/static/{path}").status_code in {400, 404}


def test_other_methods_are_refused() -> None:
    """Files are only read."""
    assert Client().post(STYLE).status_code == 405
