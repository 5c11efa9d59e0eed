"""The wall clock of one process, moved while it runs."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tests.support.preload import compile_preload

__all__ = ["WallClock"]

_SOURCE = Path(__file__).with_name("clockshift.c")
_NS_PER_S = 1_000_000_000


class WallClock:
    """A clock that runs with the true one, and jumps when told to; the monotonic clock is not touched."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "clockshift"
        self._path.write_bytes(struct.pack("q", 0))
        self._library = compile_preload(_SOURCE, directory)

    @property
    def env(self) -> Mapping[str, str]:
        """What the process is to be started with."""
        return {"LD_PRELOAD": str(self._library), "CLOCKSHIFT_FILE": str(self._path)}

    def shift(self, seconds: int) -> None:
        """Set the distance to the true time."""
        with self._path.open("r+b") as file:
            file.write(struct.pack("q", seconds * _NS_PER_S))
