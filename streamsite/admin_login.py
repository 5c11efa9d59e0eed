"""The admin's sign-in page, with a limit on attempts."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django_ratelimit.core import is_ratelimited

__all__ = ["RATE", "limited_login"]

RATE = "10/m"
"""For each address (each /64 of IPv6): a person who mistypes stays below, a list of passwords does not."""


def limited_login(request: HttpRequest) -> HttpResponseBase:
    """`admin:login`; the eleventh attempt within a minute is 429.

    A fixed window is coarse, 20 attempts can fall around its edge, and enough here. The limit fails open: without Redis
    the administrator has to be able to sign in.
    """
    if is_ratelimited(request, group="admin-login", key="ip", rate=RATE, method="POST", increment=True):
        text = "Too many attempts to sign in from this address. Wait a minute.\n"
        return HttpResponse(text, status=429, content_type="text/plain", headers={"Retry-After": "60"})
    return admin.site.login(request)
