"""The settings: defaults, and one clear sentence for each wrong value."""

from __future__ import annotations

from typing import Any

import pytest

from observability.conf import ObservabilitySettings, split_bind
from streamsite.config import Config


def test_nothing_given_is_closed() -> None:
    """Without settings the metrics are shown nowhere."""
    settings = ObservabilitySettings.from_django({})
    assert settings == ObservabilitySettings(
        service_name="streamsite", log_level="INFO", metrics_open=False, metrics_bind=None
    )


def test_what_the_site_gives_is_taken() -> None:
    """The site's own configuration fits."""
    given = Config().to_observability()
    assert ObservabilitySettings.from_django(given).log_level == given["LOG_LEVEL"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"LOGLEVEL": "INFO"}, ["LOGLEVEL", "LOG_LEVEL"]),
        ({"LOG_LEVEL": "loud"}, ["LOG_LEVEL", "'loud'", "WARNING"]),
        ({"METRICS_OPEN": "yes"}, ["METRICS_OPEN", "'yes'", "True"]),
        ({"METRICS_BIND": "9090"}, ["METRICS_BIND", "'9090'", "127.0.0.1:9090"]),
        ({"METRICS_BIND": "host:99999"}, ["METRICS_BIND", "'host:99999'"]),
        ({"SERVICE_NAME": "two words"}, ["SERVICE_NAME", "'two words'"]),
        ({"SERVICE_NAME": ""}, ["SERVICE_NAME", "''"]),
    ],
)
def test_wrong_setting_is_refused_with_what_would_be_right(given: dict[str, Any], words: list[str]) -> None:
    """The error names the key and the value, and helps."""
    with pytest.raises(ValueError, match="OBSERVABILITY") as caught:
        ObservabilitySettings.from_django(given)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("text", "split"),
    [("127.0.0.1:9090", ("127.0.0.1", 9090)), ("[::1]:0", ("::1", 0)), ("localhost:80", ("localhost", 80))],
)
def test_bind_is_split(text: str, split: tuple[str, int]) -> None:
    """Host and port, brackets gone."""
    assert split_bind(text) == split


@pytest.mark.parametrize("text", ["", ":80", "host:", "::1:80", "a b:80", "host:80\n", "host:٨٠"])
def test_bind_of_another_form_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="must be host:port"):
        split_bind(text)
