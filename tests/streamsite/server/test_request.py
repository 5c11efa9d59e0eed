"""The request's honest end."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from daphne.http_protocol import WebRequest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # another test may have chosen a reactor
    from streamsite.server.request import Request


class _Channel:
    def __init__(self) -> None:
        self.is_aborted = False

    def forceAbortClient(self) -> None:  # noqa: N802 - Twisted names it
        self.is_aborted = True


def _request(*, is_started: bool, channel: Any) -> Request:
    request = Request.__new__(Request)
    request._response_started = is_started
    request.channel = channel
    return request


def test_failure_under_way_breaks_the_connection() -> None:
    """D2: the second response that stock daphne tries to begin kills its sweeper."""
    channel = _Channel()
    _request(is_started=True, channel=channel).handle_exception(RuntimeError())
    assert channel.is_aborted


def test_failure_of_a_client_that_has_gone_is_nothing() -> None:
    """There is no connection to break."""
    _request(is_started=True, channel=None).handle_exception(RuntimeError())


def test_failure_before_the_answer_is_daphnes_500(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent, so a status can still be."""
    sent: list[tuple[Any, ...]] = []
    monkeypatch.setattr(WebRequest, "basic_error", lambda _self, *args: sent.append(args))
    _request(is_started=False, channel=_Channel()).handle_exception(RuntimeError("secret"))
    assert sent[0][0] == 500
    assert "secret" not in str(sent)
