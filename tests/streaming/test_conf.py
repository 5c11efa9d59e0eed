"""The settings of the data path: defaults, spellings, and errors that name the key, the value and what would be right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from streaming.conf import StreamingSettings
from streaming.durability import Durability
from streaming.retention import Retention


def test_nothing_given_is_closed_and_private() -> None:
    """A site that says nothing opens no door and needs no Redis."""
    settings = StreamingSettings.from_django({})
    assert (settings.open, settings.redis_url, settings.durability, settings.retention) == (
        False,
        None,
        Durability(),
        Retention(),
    )


def test_texts_become_values() -> None:
    """As a site's environment has them."""
    settings = StreamingSettings.from_django(
        {
            "DURABILITY": "fsynced, replicated:2",
            "RETENTION": "age=60, count=5",
            "DATA_DIR": "var/x",
            "CORS_ORIGINS": ["https://a.example"],
            "REDIS_URL": "unix:///run/redis.sock",
        }
    )
    assert settings.durability == Durability(is_fsynced=True, replicas=2)
    assert settings.retention == Retention(age_s=60, max_events=5)
    assert settings.data_dir == Path("var/x")
    assert settings.cors_origins == ("https://a.example",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"DURABILTY": "written"},
            r"STREAMING\['DURABILTY'\] is not a setting; there are APPEND_DEADLINE_S, .*DURABILITY",
        ),
        (
            {"DURABILITY": "fsync"},
            r"STREAMING\['DURABILITY'\]: a durability is written, fsynced or replicated:N.*'fsync'",
        ),
        ({"DURABILITY": "replicated:0"}, r"N from 1 to 99\), got 'replicated:0'"),
        ({"RETENTION": "age=1d"}, r"STREAMING\['RETENTION'\]: retention is age=<seconds>.*'age=1d'"),
        ({"PAGE_BYTES": 0}, r"STREAMING\['PAGE_BYTES'\] must be a number above 0, got 0"),
        ({"HEARTBEAT_S": "15"}, r"STREAMING\['HEARTBEAT_S'\] must be a number above 0, got '15'"),
        ({"MAX_TAIL": True}, r"STREAMING\['MAX_TAIL'\] must be a number above 0, got True"),
        ({"SSE_MAX_S": -1}, r"STREAMING\['SSE_MAX_S'\] must be 0 \(no end\) or above, got -1"),
        ({"REDIS_URL": "http://user:secret@x"}, r"must begin with redis://, rediss:// or unix://, got 'http://us'…"),
    ],
)
def test_wrong_value_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    """One line; of a URL only so much that no password shows."""
    with pytest.raises(ValueError, match=message) as caught:
        StreamingSettings.from_django(given)
    assert "\n" not in str(caught.value)


def test_settings_can_not_be_changed() -> None:
    """They are read once, at start."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        StreamingSettings().open = True  # type: ignore[misc]
