"""The style sheets and scripts of the admin and the pages, straight from the installed apps: no collectstatic to forget.

They are a few hundred small files. Django's own view would do, but it is for DEBUG only and answers with a sync
iterator, which Django's ASGI handler warns about on every request.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.http import http_date
from django.views.static import was_modified_since

from streaming.api.problems import problem_response
from streaming.errors import RequestError

__all__ = ["static_file"]

_MAX_AGE_S = 3600
"""Names carry no version, so an upgrade is seen an hour later at most."""


def static_file(request: HttpRequest, path: str) -> HttpResponseBase:
    """One file; the finders refuse a path that leaves their directories (CWE-22)."""
    if request.method not in ("GET", "HEAD"):
        detail = f"files can be read, got {request.method}"
        return problem_response(RequestError(405, "method-not-allowed", detail, headers={"Allow": "GET, HEAD"}))
    found = finders.find(path)
    if not isinstance(found, str):
        raise Http404(path)
    file = Path(found)
    if not file.is_file():
        raise Http404(path)
    mtime = file.stat().st_mtime
    response: HttpResponseBase
    if was_modified_since(request.headers.get("If-Modified-Since"), mtime):
        content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        response = HttpResponse(file.read_bytes(), content_type=content_type)
    else:
        response = HttpResponseNotModified()
    response["Last-Modified"] = http_date(mtime)
    response["Cache-Control"] = f"public, max-age={_MAX_AGE_S}"
    return response
