"""Which form a reader gets: a table of what browsers and programs send."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import RequestFactory

from streaming.api.negotiation import Form, form_of
from streaming.errors import RequestError

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def chosen(media: str, accept: str | None, query: str = "") -> Form:
    """The form for one request."""
    fields: dict[str, Any] = {} if accept is None else {"headers": {"Accept": accept}}
    return form_of(RequestFactory().get(f"/v1/stream/a{query}", **fields), media)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Form.CATCH_UP),
        ("*/*", Form.CATCH_UP),
        (CHROME, Form.CATCH_UP),
        ("application/json", Form.CATCH_UP),
        ("Application/JSON; charset=utf-8", Form.CATCH_UP),
        ("application/*", Form.CATCH_UP),
        ("text/event-stream", Form.NATIVE_SSE),
        ("TEXT/Event-Stream", Form.NATIVE_SSE),
        ("text/*", Form.NATIVE_SSE),
        ("text/event-stream, */*;q=0.1", Form.NATIVE_SSE),
        ("application/x-ndjson", Form.NDJSON_PAGE),
        ("application/ndjson", Form.NDJSON_PAGE),
        ("application/json;q=0, */*", Form.NATIVE_SSE),
        ("application/json;q=0.1, application/x-ndjson;q=0.9", Form.NDJSON_PAGE),
    ],
)
def test_accept_decides_without_live(accept: str | None, form: Form) -> None:
    """For a JSON stream."""
    assert chosen("application/json", accept) is form


def test_accept_of_the_stream_s_own_type_wants_its_bytes() -> None:
    """Even where it is the type of SSE."""
    assert chosen("text/event-stream", "text/event-stream") is Form.CATCH_UP


@pytest.mark.parametrize("accept", ["application/pdf", "*/*;q=0", "text/event-stream;q=0", "nonsense", "a/b;q=nan"])
def test_nothing_that_fits_is_406(accept: str) -> None:
    """The refusal names what there is."""
    with pytest.raises(RequestError, match="application/json, text/event-stream, application/x-ndjson") as caught:
        chosen("application/json", accept)
    assert caught.value.status == 406


@pytest.mark.parametrize(
    ("live", "form"), [("long-poll", Form.LONG_POLL), ("sse", Form.SSE), ("ndjson", Form.NDJSON_LIVE)]
)
def test_live_goes_over_accept(live: str, form: Form) -> None:
    """The address is what a program wrote; Accept is often what its library wrote."""
    assert chosen("application/json", "application/pdf", f"?live={live}") is form
