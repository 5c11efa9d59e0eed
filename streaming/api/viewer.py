"""Pages to look at: `GET /streams/`, which streams there are, and `GET /streams/<name>`, one stream.

The page of a stream holds no data: its script reads the stream as any client does, with the same rights. Script and style come from
the package by a view of their own and not through staticfiles, so that the page works in any Django project, under any
server and without a collectstatic; `v1/` is ours, so no stream's name can collide with them.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from streaming import runtime
from streaming.access.door import check_open
from streaming.errors import RequestError
from streaming.log.listing import list_streams
from streaming.names import quote_name

from .problems import TITLES, with_problems
from .requests import parameter, stream_name_from

__all__ = ["index", "problem_page", "viewer", "viewer_file"]

_FOLDER = Path(__file__).parent.parent / "static" / "streaming"
_FILES = {"viewer.js": "text/javascript; charset=utf-8", "viewer.css": "text/css; charset=utf-8"}
_INDEX_STREAMS = 100
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Even if something in the page let a script through, the browser would run none but ours (CWE-79)."""
_INDEX_HEADERS = {
    **_HEADERS,
    "Content-Security-Policy": _HEADERS["Content-Security-Policy"].replace("form-action 'none'", "form-action 'self'"),
}
"""The index asks for a prefix by a form."""


@with_problems
async def index(request: HttpRequest) -> HttpResponseBase:
    """Which streams there are, some at a time, each a link to its page.

    Raises: RequestError, StoreError.
    """
    _check_request(request)
    prefix, after = parameter(request, "prefix") or "", parameter(request, "after") or ""
    site = await runtime.serving()
    found = await list_streams(site.log, prefix, after, _INDEX_STREAMS)
    rows = [{"name": name, "path": quote_name(name), "state": state} for name, state in found.states]
    root = request.path.removesuffix("streams/")
    next_query = urlencode({"prefix": prefix, "after": found.next}) if found.next else ""
    html = render_to_string(
        "streaming/index.html",
        {"rows": rows, "prefix": prefix, "next_query": next_query, "files_url": f"{root}v1/viewer/"},
    )
    return HttpResponse(html, headers=_INDEX_HEADERS)


@with_problems
async def problem_page(request: HttpRequest, slug: str) -> HttpResponseBase:
    """What a problem's `type` leads to: its title, and where more is said.

    Raises: RequestError.
    """
    _check_method(request)
    if slug not in TITLES:
        raise RequestError(404, "not-found", f"there is no problem type {slug[:64]!r}")
    text = f"{TITLES[slug]}.\nWhat to do about it is in docs/reference/errors.md, under {slug}.\n"
    return HttpResponse(text, headers={**_HEADERS, "Content-Type": "text/plain; charset=utf-8"})


@with_problems
async def viewer(request: HttpRequest, name: str) -> HttpResponseBase:
    """The page for one stream, whether or not the stream exists by now.

    Args:
        name: what the URL pattern matched: all that follows the prefix.

    Raises: RequestError.
    """
    _check_request(request)
    stream = stream_name_from(request, name)
    root = request.path[: len(request.path) - len(name)].removesuffix("streams/")
    html = render_to_string(
        "streaming/viewer.html",
        {"name": stream, "stream_url": f"{root}v1/stream/{quote_name(stream)}", "files_url": f"{root}v1/viewer/"},
    )
    return HttpResponse(html, headers=_HEADERS)


@with_problems
async def viewer_file(request: HttpRequest, file: str) -> HttpResponseBase:
    """The page's script or style.

    Raises: RequestError.
    """
    _check_request(request)
    if file not in _FILES:
        raise RequestError(404, "not-found", f"the page has {' and '.join(_FILES)}, got {file[:64]!r}")
    content, etag = _load(file)
    headers = {**_HEADERS, "Content-Type": _FILES[file], "ETag": etag}
    if request.headers.get("If-None-Match") == etag:
        return HttpResponse(status=304, headers=headers)
    return HttpResponse(content, headers=headers)


@functools.cache
def _load(file: str) -> tuple[bytes, str]:
    """Content and entity tag of one of our files, which don't change while the process lives."""
    content = (_FOLDER / file).read_bytes()
    return content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _check_request(request: HttpRequest) -> None:
    check_open(runtime.settings(), request)
    _check_method(request)


def _check_method(request: HttpRequest) -> None:
    if request.method not in ("GET", "HEAD"):
        raise RequestError(
            405, "method-not-allowed", f"the page can be read, got {request.method}", headers={"Allow": "GET, HEAD"}
        )
