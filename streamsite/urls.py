"""The URL map: each app brings its own paths."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from streamsite.admin_login import limited_login
from streamsite.static_files import static_file

__all__ = ["urlpatterns"]

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="stream-index")),
    path("", include("observability.urls")),
    path("", include("streaming.urls")),
    path("static/<path:path>", static_file),
    path("admin/login/", limited_login),  # before the admin's own, whose name `admin:login` leads to this path
    path("admin/", admin.site.urls),
]
