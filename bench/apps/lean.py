"""The two views behind our handler."""

from __future__ import annotations

from bench.apps import site

__all__ = ["application", "site"]

from streamsite.handler import LeanHandler

application = LeanHandler()
