"""HTTP answers become errors that say whose fault it was."""

from __future__ import annotations

import datetime as dt
import email.utils

import pytest

from streaming.client import ProblemAnswer, ProducerFenced, SequenceGap, StreamGone, StreamIsClosed, StreamMissing
from streaming.client.errors import answer_error, read_problem


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (404, {}, StreamMissing),
        (410, {}, StreamGone),
        (403, {"Producer-Epoch": "5"}, ProducerFenced),
        (403, {}, ProblemAnswer),
        (409, {"Stream-Closed": "TRUE"}, StreamIsClosed),
        (409, {"Producer-Expected-Seq": "5"}, SequenceGap),
        (409, {}, ProblemAnswer),
        (500, {}, ProblemAnswer),
    ],
)
def test_answer_has_its_own_kind_of_error(status: int, headers: dict[str, str], kind: type[ProblemAnswer]) -> None:
    """Status and header fields choose the type, in any case."""
    assert type(answer_error(status, headers, b"")) is kind


def test_problem_document_is_read() -> None:
    """Slug, detail and request id of a problem document are in the message."""
    body = b'{"type":"/problems/store-full","title":"Full","detail":"no room","request_id":"abcdefgh","x":1}'
    error = answer_error(507, {"retry-after": "7"}, body)
    assert str(error) == "the server answered 507 store-full: no room (request abcdefgh)"
    assert (error.is_retryable, error.is_uncertain, error.retry_after_s, error.members["x"]) == (True, False, 7.0, 1)


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_body_that_is_no_problem_is_quoted_within_bounds(body: bytes) -> None:
    """Whatever a proxy sent, the error is made and stays short."""
    assert read_problem(body) == {}
    assert len(str(answer_error(502, {}, body))) < 600


def test_retry_after_may_be_a_date() -> None:
    """An HTTP date is as good as seconds, and nonsense asks for nothing."""
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60)
    error = answer_error(503, {"retry-after": email.utils.format_datetime(when, usegmt=True)}, b"")
    assert error.retry_after_s == pytest.approx(60, abs=5)
    assert answer_error(503, {"retry-after": "soon"}, b"").retry_after_s is None
