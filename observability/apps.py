"""What observability does when Django starts."""

from __future__ import annotations

import sys

import prometheus_client
from django.apps import AppConfig
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from observability import logs, tracing
from observability.conf import ObservabilitySettings

__all__ = ["ObservabilityConfig"]


class ObservabilityConfig(AppConfig):
    """Wires logs, metrics and spans from `settings.OBSERVABILITY`."""

    name = "observability"

    def ready(self) -> None:
        """Called once by Django.

        Logging is set up only where Django leaves it alone (`LOGGING_CONFIG = None`): a project that has its own keeps
        it, and can use `logs.logging_config` in its LOGGING.

        Raises: ImproperlyConfigured: a setting is wrong; names it.
        """
        try:
            configuration = ObservabilitySettings.from_django(getattr(settings, "OBSERVABILITY", {}))
        except ValueError as error:
            raise ImproperlyConfigured(str(error)) from error
        if settings.LOGGING_CONFIG is None:
            logs.configure(configuration.log_level, sys.stderr.isatty(), configuration.service_name)
        # Each counter would be exported twice, with the time of its first use: nobody's dashboard asks for it.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        tracing.setup(configuration.service_name)
