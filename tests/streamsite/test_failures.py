"""Errors that no view answers, through the whole application."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

from streamsite import urls
from streamsite.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


def _raising(error: Exception) -> Any:
    def view(request: HttpRequest) -> HttpResponse:
        raise error

    return view


_ERRORS = {
    "denied": PermissionDenied("a secret"),
    "suspicious": SuspiciousOperation("a secret"),
    "broken": RuntimeError("a secret"),
}
urlpatterns = [
    *(path(f"{prefix}{name}", _raising(error)) for name, error in _ERRORS.items() for prefix in ("", "admin/")),
    *urls.urlpatterns,
]
CASES = [("nowhere", 404, "not-found"), ("static/none.css", 404, "not-found"), ("denied", 403, "forbidden"),
         ("suspicious", 400, "bad-request"), ("broken", 500, "internal")]  # fmt: skip


@pytest.fixture
def client() -> Client:
    """As strict as a browser meets it, and shown what a browser would be shown."""
    return Client(enforce_csrf_checks=True, raise_request_exception=False)


@pytest.mark.parametrize(("path", "status", "slug"), CASES)
def test_error_outside_of_the_admin_is_a_problem_document(client: Client, path: str, status: int, slug: str) -> None:
    """The same form as on the data path, with the request id, and nothing of the inside."""
    with override_settings(ROOT_URLCONF=__name__):
        answer = client.get(f"/{path}")
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"/problems/{slug}"
    assert answer.json()["request_id"] == answer["X-Request-ID"]
    assert b"secret" not in answer.content


@pytest.mark.parametrize(("path", "status"), [("denied", 403), ("suspicious", 400), ("broken", 500)])
def test_error_of_the_admin_is_a_page(client: Client, path: str, status: int) -> None:
    """People look at it in a browser."""
    with override_settings(ROOT_URLCONF=__name__):
        answer = client.get(f"/admin/{path}")
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/html")
    assert b"secret" not in answer.content


@pytest.mark.parametrize(("path", "type"), [("/", "application/problem+json"), ("/admin/", "text/html; charset=utf-8")])
def test_foreign_host_is_refused_in_the_form_of_the_place(client: Client, path: str, type: str) -> None:
    """A page elsewhere whose name leads here by a trick gets nothing (CWE-350); who forgot a setting is told which."""
    with override_settings(ALLOWED_HOSTS=["streams.example"]):
        answer = client.get(path, headers={"Host": "evil.example"})
    assert (answer.status_code, answer["Content-Type"]) == (400, type)
    if path == "/":
        assert answer.json()["type"] == "/problems/bad-host"
        assert "'evil.example'" in answer.json()["detail"]
        assert "STREAMSITE_ALLOWED_HOSTS" in answer.json()["detail"]


def test_form_from_elsewhere_is_refused_in_the_form_of_the_place(client: Client) -> None:
    """Nothing outside of the admin takes forms; the pages of streams say which methods they have."""
    answer = client.post("/")
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/forbidden")
    answer = client.post("/admin/login/")
    assert (answer.status_code, answer["Content-Type"]) == (403, "text/html; charset=utf-8")


@pytest.mark.parametrize("path", ["/streams/", "/streams/a", "/problems/not-found", "/static/admin/css/base.css"])
def test_method_that_a_page_does_not_have_is_a_problem_document_too(client: Client, path: str) -> None:
    """405, and what is allowed."""
    answer = client.post(path)
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")
    assert answer.json()["type"] == "/problems/method-not-allowed"
