"""The settings of observability, as `OBSERVABILITY = {...}` in Django's settings gives them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ObservabilitySettings", "split_bind"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_BIND = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\[\]:\s]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_NAME = re.compile(r"[\w.:/-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservabilitySettings:
    """Every setting with its default; the keys of `OBSERVABILITY` are the names in capitals.

    Args:
        service_name: in every log line and span.
        log_level: the least important level that is logged.
        metrics_open: whether /metrics is served beside everything else, to everyone who reaches the site.
        metrics_bind: host:port of a listener of its own for the metrics; None = none.
    """

    service_name: str = "streamsite"
    log_level: str = "INFO"
    metrics_open: bool = False
    metrics_bind: str | None = None

    @classmethod
    def from_django(cls, given: Mapping[str, Any]) -> ObservabilitySettings:
        """Read `OBSERVABILITY`.

        Raises: ValueError: names the key, the value and what would be right.
        """
        known = {spec.name.upper() for spec in dataclasses.fields(cls)}
        for key in given:
            if key not in known:
                raise ValueError(f"OBSERVABILITY[{key!r}] is not a setting; there are {', '.join(sorted(known))}")
        settings = cls(**{key.lower(): value for key, value in given.items()})
        settings._check()
        return settings

    def _check(self) -> None:
        if not _NAME.fullmatch(str(self.service_name)):
            raise ValueError(f"OBSERVABILITY['SERVICE_NAME'] must be a short name, got {self.service_name!r}")
        if self.log_level not in _LEVELS:
            raise ValueError(f"OBSERVABILITY['LOG_LEVEL'] must be one of {', '.join(_LEVELS)}, got {self.log_level!r}")
        if self.metrics_open not in (True, False):
            raise ValueError(f"OBSERVABILITY['METRICS_OPEN'] must be True or False, got {self.metrics_open!r}")
        if self.metrics_bind is not None:
            try:
                split_bind(self.metrics_bind)
            except ValueError as error:
                raise ValueError(f"OBSERVABILITY['METRICS_BIND'] {error}") from error


def split_bind(text: str) -> tuple[str, int]:
    """Host and port of `host:port`; an IPv6 address is written in brackets.

    Raises: ValueError: it is not of that form.
    """
    match = _BIND.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise ValueError(f"must be host:port, such as 127.0.0.1:9090 or [::1]:9090, got {text!r}")
    return match["v6"] or match["host"], int(match["port"])
