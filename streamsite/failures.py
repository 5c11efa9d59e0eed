"""What Django's full chain answers where no view does: problem documents, as on the data path.

The admin keeps Django's pages: people look at it in a browser.
"""

from __future__ import annotations

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views import csrf, defaults

from streaming.api.problems import problem_response
from streaming.errors import ProblemError, RequestError

__all__ = ["bad_request", "csrf_failure", "forbidden", "internal", "not_found"]


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """400; a foreign Host is the usual one, and then it helps to know which setting lists the known."""
    if _is_admin(request):
        return defaults.bad_request(request, exception)
    if isinstance(exception, DisallowedHost):
        host = request.META.get("HTTP_HOST", "")[:255]
        detail = f"this site is not served as {host!r}; STREAMSITE_ALLOWED_HOSTS lists its names"
        return _problem(400, "bad-host", detail)
    return _problem(400, "bad-request", "the request can't be read; the log of the site has more under this request_id")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """403."""
    if _is_admin(request):
        return defaults.permission_denied(request, exception)
    return _problem(403, "forbidden", "this is not allowed")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """404."""
    if _is_admin(request):
        return defaults.page_not_found(request, exception)
    return _problem(404, "not-found", "there is nothing at this path")


def internal(request: HttpRequest) -> HttpResponseBase:
    """500, without a word of what it was."""
    if _is_admin(request):
        return defaults.server_error(request)
    return problem_response(ProblemError(500, "internal", "the server failed; its log has more under this request id"))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """403 for a form that did not come from this site's own pages."""
    if _is_admin(request):
        return csrf.csrf_failure(request, reason)
    return _problem(403, "forbidden", "the request does not come from a page of this site")


def _is_admin(request: HttpRequest) -> bool:
    return request.path_info.startswith("/admin/")


def _problem(status: int, slug: str, detail: str) -> HttpResponse:
    return problem_response(RequestError(status, slug, detail))
