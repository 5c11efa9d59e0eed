"""What every client of a run did and saw: the material of the checker.

An operation is invoked, and then it is ok, it has failed (it certainly has no effect), or its outcome is unknown (it may
have one, now or later). All times are of one monotonic clock: the clients run in one process.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["ZERO", "Append", "Batch", "Event", "Fence", "History", "Outcome", "Report", "Tail", "Value"]

Value = str
"""What one event carries, different for each event ever sent: `<producer>/<epoch>/<seq>/<number in the request>`."""
ZERO = "0000000000000000_0000000000000000"
"""The place before every event."""


class Outcome(Enum):
    """What its client knows of an operation."""

    OK = "ok"
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Event:
    """One event at its place."""

    offset: str
    value: Value


@dataclass(slots=True)
class Append:
    """One request of a producer; a retry is an operation of its own with the same values."""

    producer: str
    epoch: int
    seq: int
    values: tuple[Value, ...]
    invoked_mono: float
    returned_mono: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    problem: str = ""
    """Slug of the problem document, if there was one."""
    offset: str = ""
    """Stream-Next-Offset of an OK: of its last event."""
    durability: str = ""

    @property
    def is_duplicate(self) -> bool:
        """Whether the server said that it had this request already."""
        return self.outcome is Outcome.OK and self.status == 204


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that a reader was given in one piece: everything between two offsets.

    Readers of a form that gives each event its offset fill `offsets`, the others leave it empty.
    """

    reader: str
    form: str
    after: str
    upto: str
    values: tuple[Value, ...]
    offsets: tuple[str, ...]
    at_mono: float


@dataclass(frozen=True, slots=True)
class Report:
    """The server told a reader or a producer that something is not as it was."""

    client: str
    kind: str
    """Slug of the problem."""
    held: str
    """The offset that the client held."""
    resumed: str
    """The offset it was told to go on from; empty if none."""
    at_mono: float


@dataclass(frozen=True, slots=True)
class Tail:
    """A read that reached the end of the stream: catch-up with Stream-Up-To-Date, or HEAD."""

    client: str
    offset: str
    invoked_mono: float
    returned_mono: float


@dataclass(frozen=True, slots=True)
class Fence:
    """A moment at which the log may lawfully have lost its newest events; orders are compared on each side of it."""

    at_mono: float
    why: str


@dataclass
class History:
    """Everything, in the order in which it was noted."""

    appends: list[Append] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)

    def fence(self, why: str) -> None:
        """Note that events may be lost now."""
        self.fences.append(Fence(time.monotonic(), why))

    def acknowledged(self) -> dict[Value, Append]:
        """Every value that a producer was told is in the log."""
        return {value: append for append in self.appends if append.outcome is Outcome.OK for value in append.values}

    def reported(self, *kinds: str) -> list[Report]:
        """The reports of these kinds; of all without one."""
        return [report for report in self.reports if not kinds or report.kind in kinds]
