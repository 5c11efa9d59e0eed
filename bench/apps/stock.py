"""The two views behind Django's own ASGI handler."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIHandler

from bench.apps import site

__all__ = ["application", "site"]

application = ASGIHandler()
