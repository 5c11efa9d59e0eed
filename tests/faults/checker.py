"""Judges a history: is what the clients were told and shown true of one append-only log?

    nothing acknowledged is missing     except a suffix, where the mode allows it and a fence marks when
    nothing is there twice              for a producer's epoch and seq
    nothing is invented                 nor kept of a request that failed
    one order for all                   an offset means one event, for everyone, for ever
    gaps only where they are reported   a reader sees every event between its offsets
    real-time edges hold                what was over before another thing began comes before it (linearizability)

An append-only log needs no search for a linearization: its offsets are one, and it is enough to compare it with time.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, zip_longest

from tests.faults.history import Append, Batch, Event, History, Outcome, Value

__all__ = ["check"]

_SHOWN = 5
"""Violations of one kind that are told; the rest is counted."""

_NOWHERE = "~"
"""Sorts after every offset."""

_EMPTY = "_0000000000000000"
"""End of the offset that a stream has before its first event: nothing can be lost there."""


def check(history: History, final: Sequence[Event], *, may_lose_newest: bool = False) -> list[str]:
    """All violations, in words; an empty list is a clean history.

    Args:
        final: the whole stream, read from its beginning after everything was over.
        may_lose_newest: whether acknowledged events may be lost at a fence.
    """
    trial = _Trial(history, final, may_lose_newest=may_lose_newest)
    checks = {
        "log": trial.log_is_contiguous(),
        "missing": trial.acknowledged_are_there(),
        "twice": trial.nothing_is_twice(),
        "invented": trial.nothing_is_invented(),
        "order": trial.offsets_mean_one_event(),
        "gap": trial.readers_see_everything(),
        "silent": trial.losses_are_reported(),
        "time": trial.real_time_edges_hold(),
    }
    told = []
    for name, violations in checks.items():
        found = list(violations)
        told += [f"{name}: {text}" for text in found[:_SHOWN]]
        if len(found) > _SHOWN:
            told.append(f"{name}: and {len(found) - _SHOWN} more")
    return told


class _Trial:
    """One history and what follows from it."""

    def __init__(self, history: History, final: Sequence[Event], *, may_lose_newest: bool) -> None:
        self._history = history
        self._final = final
        self._may_lose_newest = may_lose_newest
        self._final_offsets = [event.offset for event in final]
        self._final_values = {event.value: event.offset for event in final}
        self._first_invoked: dict[Value, float] = {}
        for append in history.appends:
            for value in append.values:
                self._first_invoked.setdefault(value, append.invoked_mono)

    def log_is_contiguous(self) -> Iterator[str]:
        """Offsets rise, and within one generation by exactly one."""
        for before, after in pairwise(self._final_offsets):
            if after <= before:
                yield f"offset {after} comes after {before}"
            elif before[:16] == after[:16] and int(after[17:]) != int(before[17:]) + 1:
                yield f"no event between {before} and {after}"

    def acknowledged_are_there(self) -> Iterator[str]:
        """Lost are at most the newest events before a fence, and none from the middle."""
        survivors: dict[str, str] = {}
        for offset in self._final_offsets:
            survivors[offset[:16]] = offset
        last_fence_mono = max((fence.at_mono for fence in self._history.fences), default=-math.inf)
        for value, append in self._history.acknowledged().items():
            if value in self._final_values:
                continue
            if not self._may_lose_newest:
                yield f"{value} was acknowledged at {append.offset}"
            elif append.invoked_mono > last_fence_mono:
                yield f"{value} was acknowledged at {append.offset}, after the last moment of lawful loss"
            elif survivors.get(append.offset[:16], "") > append.offset:
                yield f"{value} was acknowledged at {append.offset}, and a later event of that generation survived"

    def nothing_is_twice(self) -> Iterator[str]:
        """Each value once; each request's values together and in order; a producer's requests in order."""
        seen: dict[Value, str] = {}
        places: dict[tuple[str, int, int], list[tuple[int, int]]] = defaultdict(list)
        last: dict[str, tuple[int, int]] = {}
        for index, event in enumerate(self._final):
            if event.value in seen:
                yield f"{event.value} is at {seen[event.value]} and at {event.offset}"
            seen[event.value] = event.offset
            if event.value not in self._first_invoked:
                continue
            producer, epoch, seq, number = _take_apart(event.value)
            places[producer, epoch, seq].append((index, number))
            if (epoch, seq) < last.get(producer, (0, 0)):
                yield f"{event.value} at {event.offset} comes after a later request of its producer"
            last[producer] = (epoch, seq)
        for request, found in places.items():
            if [index - found[0][0] for index, _ in found] != [number for _, number in found]:
                yield f"the events of request {request} are not together and in order"

    def nothing_is_invented(self) -> Iterator[str]:
        """What is in the log or was shown had been sent before, and its request has not failed."""
        attempts: dict[Value, set[Outcome]] = defaultdict(set)
        for append in self._history.appends:
            for value in append.values:
                attempts[value].add(append.outcome)
        for event in self._final:
            if event.value not in attempts:
                yield f"{event.value} at {event.offset} was never sent"
            elif attempts[event.value] == {Outcome.FAIL}:
                yield f"{event.value} at {event.offset}: its producer was told that it has failed"
        for batch in self._history.batches:
            for value in batch.values:
                if value not in attempts:
                    yield f"{batch.reader} was shown {value}, which was never sent"
                elif batch.at_mono < self._first_invoked[value]:
                    yield f"{batch.reader} was shown {value} before it was sent"

    def offsets_mean_one_event(self) -> Iterator[str]:
        """An offset bears the same event for everyone, before and after any loss."""
        meanings = {event.offset: event.value for event in self._final}
        for batch in self._history.batches:
            for offset, value in zip(batch.offsets, batch.values, strict=False):
                if meanings.setdefault(offset, value) != value:
                    yield f"{batch.reader} was shown {value} at {offset}, where {meanings[offset]} is"
        told: dict[tuple[str, int, int], str] = {}
        for append in self._history.appends:
            if append.outcome is not Outcome.OK:
                continue
            if meanings.setdefault(append.offset, append.values[-1]) != append.values[-1]:
                yield f"{append.values[-1]} was acknowledged at {append.offset}, where {meanings[append.offset]} is"
            request = (append.producer, append.epoch, append.seq)
            known = told.setdefault(request, append.offset)
            if known != append.offset and not self._has_fence_before(append):
                yield f"request {request} was answered with {known} and with {append.offset}"
            told[request] = append.offset

    def readers_see_everything(self) -> Iterator[str]:
        """Each batch has every event of the final log between its offsets, in order, and nothing else but lost ones."""
        for batch in self._history.batches:
            # What is lost now was lawfully shown then, and may since have been sent again, to a later place.
            kept = [value for value in batch.values if not self._is_lost(value, batch.upto)]
            expected = [event.value for event in self._between(batch.after, batch.upto)]
            if kept != expected:
                shown, wanted = next(pair for pair in zip_longest(kept, expected) if pair[0] != pair[1])
                yield (
                    f"{batch.reader} ({batch.form}) was shown {shown or 'nothing'} where {wanted or 'nothing'} is, "
                    f"between {batch.after} and {batch.upto}"
                )

    def losses_are_reported(self) -> Iterator[str]:
        """A reader's batches join, and what leads from a lost offset to a living one is a report."""
        reports = defaultdict(list)
        for report in self._history.reports:
            reports[report.client].append(report.at_mono)
        known = set(self._final_offsets)
        for reader, batches in _by_reader(self._history.batches).items():
            for before, after in pairwise(batches):
                is_told = any(before.at_mono <= at <= after.at_mono for at in reports[reader])
                if is_told:
                    continue
                if after.after != before.upto:
                    yield f"{reader} went from {before.upto} to {after.after} without a report"
                elif before.upto not in known and not before.upto.endswith(_EMPTY) and after.upto in known:
                    yield f"{reader} held {before.upto}, which is lost, and went on to {after.upto} without a report"

    def real_time_edges_hold(self) -> Iterator[str]:
        """In the order of offsets, nothing was over before something that comes earlier had begun."""
        cuts = sorted(fence.at_mono for fence in self._history.fences)
        segments: dict[int, list[tuple[tuple[str, int], float, float, str]]] = defaultdict(list)
        for key, invoked, returned, text in self._operations():
            segment = bisect.bisect(cuts, invoked)
            if returned == math.inf or bisect.bisect(cuts, returned) == segment:
                segments[segment].append((key, invoked, returned, text))
        for operations in segments.values():
            operations.sort(key=lambda operation: operation[0], reverse=True)
            earliest_return, earliest_text = math.inf, ""
            # From the largest offset down: `earliest` is over everything with a larger one.
            pending: list[tuple[tuple[str, int], float, str]] = []
            for key, invoked, returned, text in operations:
                while pending and pending[0][0] > key:
                    _, over, over_text = pending.pop(0)
                    if over < earliest_return:
                        earliest_return, earliest_text = over, over_text
                if invoked > earliest_return:
                    yield f"{text} began after {earliest_text} was over, and comes before it"
                pending.append((key, returned, text))

    def _operations(self) -> Iterator[tuple[tuple[str, int], float, float, str]]:
        """Place, begin, end and name of each operation whose place is known; a read comes after the append it saw."""
        acknowledged: set[Value] = set()
        for append in self._history.appends:
            if append.outcome is Outcome.OK and append.returned_mono is not None:
                # A duplicate's effect may be that of any earlier attempt.
                invoked = self._first_invoked[append.values[0]] if append.is_duplicate else append.invoked_mono
                acknowledged.update(append.values)
                yield (append.offset, 0), invoked, append.returned_mono, f"append {append.values[-1]}"
        for event in self._final:
            if event.value not in acknowledged and event.value in self._first_invoked:
                yield (event.offset, 0), self._first_invoked[event.value], math.inf, f"append {event.value} (unknown)"
        for tail in self._history.tails:
            yield (tail.offset, 1), tail.invoked_mono, tail.returned_mono, f"read of {tail.client} to {tail.offset}"

    def _between(self, after: str, upto: str) -> Sequence[Event]:
        return self._final[
            bisect.bisect_right(self._final_offsets, after) : bisect.bisect_right(self._final_offsets, upto)
        ]

    def _is_lost(self, value: Value, upto: str) -> bool:
        return self._may_lose_newest and self._final_values.get(value, _NOWHERE) > upto

    def _has_fence_before(self, append: Append) -> bool:
        return any(fence.at_mono <= (append.returned_mono or math.inf) for fence in self._history.fences)


def _take_apart(value: Value) -> tuple[str, int, int, int]:
    producer, epoch, seq, number = value.rsplit("/", 3)
    return producer, int(epoch), int(seq), int(number)


def _by_reader(batches: Iterable[Batch]) -> dict[str, list[Batch]]:
    found: dict[str, list[Batch]] = defaultdict(list)
    for batch in batches:
        found[batch.reader].append(batch)
    return found
