"""Failpoints: named places where a test may break the data path on purpose.

Nothing is armed unless STREAMSITE_FAILPOINT names something when this module is imported, and a `hit` then costs one
look at an empty dict. The variable is a comma list of

    name=exit           end the process at once, as a crash would: no clean-up, no answer, nothing flushed
    name=error          raise FailpointError, as a bug would
    name=drop           raise ConnectionResetError, as a connection to Redis that breaks would
    name=sleep:0.5      block the calling thread (the event loop too) for so many seconds
    name=-86400000      a whole number, for the names that `value` asks for

and `name=action@5` waits for the fifth hit and acts once. Only names in `KNOWN` exist: a misspelt one would make a test
that tests nothing, so it stops the start.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["KNOWN", "VARIABLE", "FailpointError", "hit", "value"]

VARIABLE = "STREAMSITE_FAILPOINT"

KNOWN: Mapping[str, str] = {
    "before_append": "an append was checked, its script has not been sent",
    "after_append": "the script has written, its answer has not been used",
    "after_append_before_durable": "written; the wait for the disk or the replicas has not begun",
    "fork_pinned": "the source of a fork knows of it, the fork does not exist",
    "fork_created": "the fork exists, the source's intent is still pending",
    "redis_time_shift_ms": "added to every time that a script takes from Redis",
}
"""Every failpoint, and what has happened and what has not when it is reached."""
_NUMBERS = frozenset({"redis_time_shift_ms"})
"""The names that take a number instead of an action."""

_FORM = re.compile(
    r"(?P<name>[a-z_]+)=(?:(?P<action>exit|error|drop|sleep:(?P<seconds>[0-9]+(?:\.[0-9]+)?))(?:@(?P<nth>[1-9][0-9]*))?"
    r"|(?P<value>-?[0-9]+))",
    re.ASCII,
)
_EXIT_CODE = 9
"""Unlike any exit that serve chooses itself, so that a test can tell a failpoint from a real end."""


class FailpointError(RuntimeError):
    """What an armed `error` raises."""


@dataclass(slots=True)
class _Armed:
    """One entry of the variable."""

    action: str
    seconds: float
    value: int
    nth: int | None
    """Act at this hit only; None: at every one."""
    hits: int = 0


def hit(name: str) -> None:
    """Do what is armed for this place; nothing at all when nothing is.

    Raises:
        FailpointError: armed with `error`.
        ConnectionResetError: armed with `drop`.
    """
    if not _armed:
        return
    armed = _armed.get(name)
    if armed is None:
        return
    armed.hits += 1
    if armed.nth is not None and armed.hits != armed.nth:
        return
    if armed.action == "exit":
        os._exit(_EXIT_CODE)
    if armed.action == "error":
        raise FailpointError(f"failpoint {name}")
    if armed.action == "drop":
        raise ConnectionResetError(f"failpoint {name}")
    time.sleep(armed.seconds)


def value(name: str) -> int:
    """The number that is armed for this name; 0 when none is."""
    armed = _armed.get(name) if _armed else None
    return armed.value if armed else 0


def _parse(text: str) -> dict[str, _Armed]:
    """Read the variable.

    Raises: ValueError: one line that names the variable, the entry and what would be right.
    """
    armed = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        match = _FORM.fullmatch(entry)
        if match is None:
            raise ValueError(f"{VARIABLE}: {entry!r} is not name=exit, error, drop, sleep:SECONDS or a whole number")
        if match["name"] not in KNOWN:
            raise ValueError(f"{VARIABLE}: no failpoint {match['name']!r}; there are {', '.join(sorted(KNOWN))}")
        wants_number = match["name"] in _NUMBERS
        if wants_number != (match["value"] is not None):
            raise ValueError(f"{VARIABLE}: {match['name']} takes {'a whole number' if wants_number else 'an action'}")
        armed[match["name"]] = _Armed(
            action=(match["action"] or "value").partition(":")[0],
            seconds=float(match["seconds"] or 0),
            value=int(match["value"] or 0),
            nth=int(match["nth"]) if match["nth"] else None,
        )
    return armed


def _parse_or_exit(text: str) -> dict[str, _Armed]:
    """Like every wrong setting: one line on standard error, exit code 2."""
    try:
        return _parse(text)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


_armed: dict[str, _Armed] = _parse_or_exit(os.environ.get(VARIABLE, ""))
