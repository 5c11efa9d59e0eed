"""Addresses of the data path. The prefix `v1/` is part of the interface; a host project includes them at its root."""

from __future__ import annotations

from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from streaming.api.health import livez, readyz
from streaming.api.listing import streams
from streaming.api.streams import stream
from streaming.api.viewer import index, problem_page, viewer, viewer_file

__all__ = ["urlpatterns"]

urlpatterns = [
    # No cookie gives rights here, so there is nothing that a forged request could use.
    re_path(r"^v1/stream/(?P<name>(?s:.*))$", csrf_exempt(stream), name="stream"),
    path("v1/streams", csrf_exempt(streams), name="streams"),
    path("streams/", csrf_exempt(index), name="stream-index"),
    re_path(r"^streams/(?P<name>(?s:.+))$", csrf_exempt(viewer), name="viewer"),
    path("v1/viewer/<str:file>", csrf_exempt(viewer_file), name="viewer-file"),
    path("problems/<str:slug>", csrf_exempt(problem_page), name="problem"),
    path("livez", livez, name="livez"),
    path("healthz", livez, name="healthz"),
    path("readyz", readyz, name="readyz"),
]
