"""The checker lets a true history pass and finds each way of lying."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults.checker import check
from tests.faults.history import ZERO, Append, Batch, Event, Fence, History, Outcome, Report, Tail


def _offset(sequence: int, generation: int = 7) -> str:
    return f"{generation:016d}_{sequence:016d}"


def _append(
    seq: int, at: float, *, offset: int | str | None = None, outcome: Outcome = Outcome.OK, **more: object
) -> Append:
    """One request of producer p with one value, which takes from `at` to `at` + 1."""
    place = offset if isinstance(offset, str) else _offset(offset or seq + 1)
    return Append(
        producer="p",
        epoch=0,
        seq=seq,
        values=(f"p/0/{seq}/0",),
        invoked_mono=at,
        returned_mono=at + 1,
        outcome=outcome,
        offset=place if outcome is Outcome.OK else "",
        status=int(str(more.get("status", 200))),
    )


def _batch(after: str, *events: Event, at: float = 100, reader: str = "r") -> Batch:
    return Batch(
        reader, "sse", after, events[-1].offset, tuple(e.value for e in events), tuple(e.offset for e in events), at
    )


def _truth() -> tuple[History, list[Event]]:
    """Four appends one after the other, a reader that sees all, and reads of the tail."""
    final = [Event(_offset(seq + 1), f"p/0/{seq}/0") for seq in range(4)]
    history = History(
        appends=[_append(seq, 10 * seq) for seq in range(4)],
        batches=[_batch(ZERO, *final[:2], at=50), _batch(final[1].offset, *final[2:], at=60)],
        tails=[Tail("t", ZERO, -2, -1), Tail("t", _offset(2), 12, 13), Tail("t", _offset(4), 70, 71)],
    )
    return history, final


def test_true_history_is_clean() -> None:
    """What a correct log does is never called wrong."""
    assert check(*_truth()) == []


def test_unknown_append_may_be_there_or_not() -> None:
    """A time-out is neither an acknowledgement nor a failure."""
    history, final = _truth()
    history.appends.append(_append(4, 80, outcome=Outcome.UNKNOWN))
    assert check(history, final) == []
    assert check(history, [*final, Event(_offset(5), "p/0/4/0")]) == []


def test_retry_that_finds_its_first_attempt_is_clean() -> None:
    """A duplicate takes effect when any of its attempts did."""
    history, final = _truth()
    history.appends.insert(3, _append(3, 25, outcome=Outcome.UNKNOWN))
    history.appends[-1].status = 204
    history.tails.append(Tail("t", _offset(4), 27, 28))
    assert check(history, final) == []


def test_batches_without_offsets_of_their_own_are_clean() -> None:
    """Long-poll gives one offset for many events."""
    history, final = _truth()
    history.batches.append(Batch("l", "long-poll", ZERO, final[-1].offset, tuple(e.value for e in final), (), 90))
    assert check(history, final) == []


def _lose(history: History, final: list[Event], kept: int) -> tuple[History, list[Event]]:
    """Lose all but the first events at 65, and go on in a new generation at 80."""
    history.fences.append(Fence(65, "power cut"))
    history.tails = [tail for tail in history.tails if tail.returned_mono < 65]
    history.appends.append(_append(4, 80, offset=_offset(1, generation=8)))
    return history, [*final[:kept], Event(_offset(1, generation=8), "p/0/4/0")]


def test_reported_loss_of_a_suffix_is_clean_where_it_is_allowed() -> None:
    """A power cut with everysec."""
    history, final = _lose(*_truth(), kept=2)
    history.reports.append(Report("r", "stream-rewound", _offset(4), _offset(2), 85))
    history.batches.append(_batch(_offset(2), final[-1], at=90))
    assert check(history, final, may_lose_newest=True) == []


def test_loss_where_none_is_allowed_is_found() -> None:
    """The same history under a promise."""
    history, final = _lose(*_truth(), kept=2)
    history.reports.append(Report("r", "stream-rewound", _offset(4), _offset(2), 85))
    assert any(text.startswith("missing: p/0/2/0") for text in check(history, final))


def test_unreported_loss_is_found() -> None:
    """A reader held a lost offset and was led on in silence."""
    history, final = _lose(*_truth(), kept=2)
    history.batches.append(_batch(_offset(4), final[-1], at=90))
    assert any("silent" in text for text in check(history, final, may_lose_newest=True))


def test_loss_from_the_middle_is_found() -> None:
    """Only the newest may go."""
    history, final = _lose(*_truth(), kept=4)
    del final[1]
    assert any("later event" in text for text in check(history, final, may_lose_newest=True))


def test_loss_after_the_last_fence_is_found() -> None:
    """What was acknowledged after the fault has no excuse."""
    history, final = _lose(*_truth(), kept=2)
    assert any("lawful" in text for text in check(history, final[:-1], may_lose_newest=True))


def test_reused_offset_after_loss_is_found() -> None:
    """Another event under an offset that was shown before."""
    history, _ = _truth()
    history.fences.append(Fence(65, "power cut"))
    history.reports.append(Report("r", "stream-rewound", _offset(4), _offset(3), 85))
    history.appends.append(_append(4, 80, offset=4))
    final = [Event(_offset(seq + 1), f"p/0/{seq}/0") for seq in (0, 1, 2)] + [Event(_offset(4), "p/0/4/0")]
    assert any(text.startswith("order") for text in check(history, final, may_lose_newest=True))


def _drop_an_event(history: History, final: list[Event]) -> None:
    del final[1]


def _double_an_event(history: History, final: list[Event]) -> None:
    final.append(Event(_offset(5), "p/0/1/0"))


def _swap_events(history: History, final: list[Event]) -> None:
    final[1], final[2] = Event(_offset(2), final[2].value), Event(_offset(3), final[1].value)


def _invent_an_event(history: History, final: list[Event]) -> None:
    final.append(Event(_offset(5), "p/0/99/0"))


def _keep_a_failed_append(history: History, final: list[Event]) -> None:
    history.appends.append(_append(4, 80, outcome=Outcome.FAIL))
    final.append(Event(_offset(5), "p/0/4/0"))


def _skip_in_a_reader(history: History, final: list[Event]) -> None:
    history.batches.append(_batch(ZERO, final[0], final[2], at=90, reader="s"))


def _skip_between_batches(history: History, final: list[Event]) -> None:
    history.batches.append(_batch(ZERO, final[0], at=90, reader="s"))
    history.batches.append(_batch(final[1].offset, final[2], at=91, reader="s"))


def _repeat_in_a_reader(history: History, final: list[Event]) -> None:
    history.batches.append(_batch(ZERO, final[0], final[0], final[1], at=90, reader="s"))


def _show_before_sending(history: History, final: list[Event]) -> None:
    history.batches.append(_batch(ZERO, *final, at=25, reader="s"))


def _show_another_event_at_an_offset(history: History, final: list[Event]) -> None:
    history.batches.append(_batch(ZERO, Event(_offset(1), "p/0/1/0"), at=90, reader="s"))


def _answer_one_request_with_two_offsets(history: History, final: list[Event]) -> None:
    history.appends.append(_append(1, 80, offset=3, status=204))


def _order_against_time(history: History, final: list[Event]) -> None:
    history.appends[0].invoked_mono, history.appends[0].returned_mono = 40, 41
    history.batches.clear()


def _read_a_stale_tail(history: History, final: list[Event]) -> None:
    history.tails.append(Tail("t", _offset(1), 14, 15))


def _read_a_tail_that_goes_back(history: History, final: list[Event]) -> None:
    history.tails += [Tail("t", _offset(4), 31, 32), Tail("u", _offset(3), 33, 34)]


def _read_a_tail_from_the_future(history: History, final: list[Event]) -> None:
    history.tails.append(Tail("t", _offset(3), 5, 6))


def _leave_a_hole_in_the_offsets(history: History, final: list[Event]) -> None:
    final[3] = Event(_offset(9), final[3].value)


@pytest.mark.parametrize(
    ("lie", "kind"),
    [
        (_drop_an_event, "missing"),
        (_double_an_event, "twice"),
        (_swap_events, "order"),
        (_invent_an_event, "invented"),
        (_keep_a_failed_append, "invented"),
        (_skip_in_a_reader, "gap"),
        (_skip_between_batches, "silent"),
        (_repeat_in_a_reader, "gap"),
        (_show_before_sending, "invented"),
        (_show_another_event_at_an_offset, "order"),
        (_answer_one_request_with_two_offsets, "order"),
        (_order_against_time, "time"),
        (_read_a_stale_tail, "time"),
        (_read_a_tail_that_goes_back, "time"),
        (_read_a_tail_from_the_future, "time"),
        (_leave_a_hole_in_the_offsets, "log"),
    ],
)
def test_lie_is_found(lie: Callable[[History, list[Event]], None], kind: str) -> None:
    """Each change to the true history is called by its name."""
    history, final = _truth()
    lie(history, final)
    assert any(text.startswith(f"{kind}: ") for text in check(history, final)), check(history, final)
