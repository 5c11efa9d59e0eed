"""The URL map: each app brings its own paths; and what is answered where there is none."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from streamsite.admin_login import limited_login
from streamsite.static_files import static_file

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

handler400 = "streamsite.failures.bad_request"
handler403 = "streamsite.failures.forbidden"
handler404 = "streamsite.failures.not_found"
handler500 = "streamsite.failures.internal"

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="stream-index")),
    path("", include("observability.urls")),
    path("", include("streaming.urls")),
    path("static/<path:path>", csrf_exempt(static_file)),
    path("admin/login/", limited_login),  # before the admin's own, whose name `admin:login` leads to this path
    path("admin/", admin.site.urls),
]
