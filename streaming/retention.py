"""How long and how much a stream keeps. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["KEEP_ALL", "Retention"]

_MEMBER = re.compile(r"(age|count|bytes)=([1-9][0-9]{0,14})", re.ASCII)


class Retention(NamedTuple):
    """Bounds, each 0 for none; what is past any of them is removed.

    Args:
        age_s: seconds since the append.
        max_events: newest events that are kept.
        max_bytes: of data that are kept; the newest event always is.
    """

    age_s: int = 0
    max_events: int = 0
    max_bytes: int = 0

    @classmethod
    def parse(cls, text: str) -> Retention:
        """Read `age=…, count=…, bytes=…`, each at most once; empty text keeps everything.

        Raises: ValueError: says what came and what would be right.
        """
        found: dict[str, int] = {}
        for member in (part.strip() for part in text.split(",")) if text.strip() else ():
            match = _MEMBER.fullmatch(member)
            if match is None or match[1] in found:
                raise ValueError(
                    f"retention is age=<seconds>, count=<events>, bytes=<bytes>, each once and above 0, got {member[:64]!r}"
                )
            found[match[1]] = int(match[2])
        return cls(found.get("age", 0), found.get("count", 0), found.get("bytes", 0))

    def __str__(self) -> str:
        members = (("age", self.age_s), ("count", self.max_events), ("bytes", self.max_bytes))
        return ", ".join(f"{name}={value}" for name, value in members if value)


KEEP_ALL = Retention()
