"""What happens when Django starts, in a foreign project too."""

from __future__ import annotations

import logging

import pytest
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings


def test_wrong_setting_stops_the_start() -> None:
    """The error names the key."""
    with (
        override_settings(OBSERVABILITY={"LOG_LEVEL": "loud"}),
        pytest.raises(ImproperlyConfigured, match=r"OBSERVABILITY\['LOG_LEVEL'\]"),
    ):
        apps.get_app_config("observability").ready()


def test_logging_is_set_up_where_django_leaves_it(with_logging_restored: None) -> None:
    """With LOGGING_CONFIG = None the lines are ours."""
    with override_settings(LOGGING_CONFIG=None, OBSERVABILITY={"LOG_LEVEL": "ERROR"}):
        apps.get_app_config("observability").ready()
    assert logging.getLogger().level == logging.ERROR
    assert [type(handler).__name__ for handler in logging.getLogger().handlers] == ["BackgroundHandler"]


def test_project_with_its_own_logging_keeps_it(with_logging_restored: None) -> None:
    """What a project configured stays."""
    logging.getLogger().setLevel(logging.CRITICAL)
    with override_settings(LOGGING_CONFIG="logging.config.dictConfig", OBSERVABILITY={}):
        apps.get_app_config("observability").ready()
    assert logging.getLogger().level == logging.CRITICAL


@override_settings()
def test_project_without_settings_gets_the_defaults(
    with_logging_restored: None, settings: pytest.FixtureRequest
) -> None:
    """OBSERVABILITY may be left out."""
    del settings.OBSERVABILITY  # type: ignore[attr-defined]
    apps.get_app_config("observability").ready()
    assert logging.getLogger().level == logging.INFO
