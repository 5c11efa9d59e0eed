"""Wiring of the app from Django's settings, so that it works in any project."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from streaming.conf import StreamingSettings

if TYPE_CHECKING:
    from streaming.runtime import Runtime

__all__ = ["StreamingConfig"]


class StreamingConfig(AppConfig):
    """Reads `STREAMING` and holds what runs: a runtime for each event loop."""

    name = "streaming"
    default_auto_field = "django.db.models.BigAutoField"
    settings: StreamingSettings

    def ready(self) -> None:
        """Validate the settings.

        Raises: ImproperlyConfigured: names the key, the value and what would be right.
        """
        try:
            self.settings = StreamingSettings.from_django(getattr(settings, "STREAMING", {}))
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(str(error)) from error
        self.runtimes: WeakKeyDictionary[asyncio.AbstractEventLoop, Runtime] = WeakKeyDictionary()
        self.openings: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Runtime]] = WeakKeyDictionary()
