"""What an acknowledged append has survived. Pure. What each level means is in docs/explanation/durability.md."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["WRITTEN", "Durability"]

MAX_REPLICAS = 99
_REPLICATED = re.compile(r"replicated:([1-9][0-9]?)", re.ASCII)


class Durability(NamedTuple):
    """A level: in the primary's memory, behind its fsync, in the memory of replicas; the last two can be joined.

    Args:
        is_fsynced: on the primary's disk.
        replicas: how many replicas hold it, 0 to 99.
    """

    is_fsynced: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, text: str) -> Durability:
        """Read `written`, `fsynced`, `replicated:N`, or two of them joined by a comma.

        Raises: ValueError: says what came and what would be right.
        """
        level = cls()
        for word in (part.strip() for part in text.split(",")):
            if word == "fsynced":
                level |= cls(is_fsynced=True)
            elif match := _REPLICATED.fullmatch(word):
                level |= cls(replicas=int(match[1]))
            elif word != "written":
                raise ValueError(
                    f"a durability is written, fsynced or replicated:N (N from 1 to {MAX_REPLICAS}), got {word[:64]!r}"
                )
        return level

    def __or__(self, other: Durability) -> Durability:
        """The level that is at least both."""
        return Durability(self.is_fsynced or other.is_fsynced, max(self.replicas, other.replicas))

    def __str__(self) -> str:
        words = ["fsynced"] * self.is_fsynced + [f"replicated:{self.replicas}"] * (self.replicas > 0)
        return ", ".join(words) or "written"


WRITTEN = Durability()
