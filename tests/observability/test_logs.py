"""What a log line looks like, whatever is put into it."""

from __future__ import annotations

import json
import logging
import logging.config
import re
import sys
from enum import IntEnum
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from observability.logs import MAX_VALUE_BYTES, logging_config, make_formatter
from observability.request_id import request_id

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_json = make_formatter(is_terminal=False, service_name="site-under-test")
_terminal = make_formatter(is_terminal=True, service_name="site-under-test")


def record_of(event: str = "test.event", /, *, severity: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    """A record as the standard library makes it."""
    return logging.getLogger("streamsite.test").makeRecord(
        "streamsite.test", severity, "file.py", 1, event, (), None, "function", extra
    )


def line_of(event: str = "test.event", /, **extra: Any) -> dict[str, Any]:
    """What a JSON line says."""
    text = _json.format(record_of(event, **extra))
    assert not _CONTROL.search(text), "a line holds no control character"
    line: dict[str, Any] = json.loads(text)
    return line


def test_line_has_what_every_line_has() -> None:
    """The fixed fields are there, first and in order, the time in UTC with microseconds."""
    token = request_id.set("request-0001")
    try:
        line = line_of("redis.back", gap_ms=12)
    finally:
        request_id.reset(token)
    assert list(line) == ["timestamp", "level", "event", "logger", "service_name", "request_id", "gap_ms"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "info",
        "event": "redis.back",
        "logger": "streamsite.test",
        "service_name": "site-under-test",
        "request_id": "request-0001",
        "gap_ms": 12,
    }


def test_time_without_microseconds_still_has_six_digits() -> None:
    """A record made in the first microsecond of a second sorts like every other."""
    record = record_of()
    record.created = 1_764_000_000.0
    assert json.loads(_json.format(record))["timestamp"] == "2025-11-24T16:00:00.000000Z"


def test_extra_request_id_names_the_request_outside_its_context() -> None:
    """A task that works for a request may say for which."""
    assert line_of(request_id="request-0002")["request_id"] == "request-0002"


def test_extra_with_the_name_of_a_fixed_field_does_not_replace_it() -> None:
    """A field called `event` or `level` can't pretend to be the line's own."""
    line = line_of("real", event="forged", level="critical")
    assert (line["event"], line["level"]) == ("real", "info")
    assert (line["field_event"], line["field_level"]) == ("forged", "critical")


def test_arguments_of_the_standard_library_are_filled_in() -> None:
    """Libraries that log with % see their arguments in the event."""
    record = logging.getLogger("other").makeRecord("other", logging.INFO, "f", 1, "%s of %d", ("one", 2), None)
    assert json.loads(_json.format(record))["event"] == "one of 2"


def test_long_value_is_cut_to_a_kilobyte() -> None:
    """A user agent of a megabyte, in any alphabet, becomes one kilobyte."""
    for text in ("x" * 1_000_000, "ä" * 1_000_000, "𝄞" * 1_000_000):
        value = line_of(user_agent=text)["user_agent"]
        assert MAX_VALUE_BYTES - 8 <= len(value.encode()) <= MAX_VALUE_BYTES
        assert value.endswith("…")


def test_large_container_is_cut_to_a_kilobyte() -> None:
    """A list or dictionary counts as one value."""
    assert len(line_of(items=[["x" * 900] * 50] * 50)["items"].encode()) <= MAX_VALUE_BYTES
    assert line_of(items={"a": [1, 2.5, None, True]})["items"] == {"a": [1, 2.5, None, True]}


def test_forged_line_stays_inside_its_value() -> None:
    """Line breaks, escape sequences and JSON in a value are text of that value."""
    forged = 'x\r\n{"level":"critical","event":"forged"}\x1b[2J\x9b31m\u2028\u202e'
    line = line_of(path=forged)
    assert line["path"] == 'x\r\n{"level":"critical","event":"forged"}\x1b[2J\\x9b31m\\u2028\\u202e'


def test_forged_line_stays_inside_its_value_on_a_terminal() -> None:
    """On a terminal the only control characters are the renderer's own colours."""
    text = _terminal.format(record_of("an\x1b[31mevent\nforged", path="x\r\ny\x1b]0;title\x07\x9b2J"))
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert not _CONTROL.search(without_colours)
    assert "an\\x1b[31mevent\\x0aforged" in without_colours


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://user:hunter2@host:6379/0", "redis://user:***@host:6379/0"),
        ("rediss://:hunter2@host", "rediss://:***@host"),
        ("Error 111 connecting to redis://a:hunter2@b. Refused", "Error 111 connecting to redis://a:***@b. Refused"),
        ("/v1/stream/a?offset=-1&key=hunter2&live=sse", "/v1/stream/a?offset=-1&key=***&live=sse"),
        ("/v1/stream/a?KEY=hunter2", "/v1/stream/a?KEY=***"),
        ("Authorization: Bearer hunter2hunter2", "Authorization: Bearer ***"),
        ("http://host:80/path", "http://host:80/path"),
        ("redis://" + "u" * 900 + ":hunter2" + "x" * 2000 + "@host", "redis://" + "u" * 900 + ":***@host"),
    ],
)
def test_secret_in_a_url_is_masked(text: str, shown: str) -> None:
    """Passwords and keys do not reach the log, in the event neither; what is no secret stays."""
    line = line_of(text, url=text, nested={"urls": [text]})
    assert line["event"] == shown
    assert line["url"] == shown
    assert "hunter2" not in json.dumps(line)


def test_field_named_after_a_secret_is_masked() -> None:
    """A field called password is not shown, however deep."""
    line = line_of(password="hunter2", headers={"Authorization": "hunter2", "Accept": "*/*"})
    assert line["password"] == "***"
    assert line["headers"] == {"Authorization": "***", "Accept": "*/*"}


def test_traceback_is_one_field_of_one_line() -> None:
    """An exception has its traceback, secrets masked, and the newest frames where it is too long."""

    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ConnectionError("no way to redis://user:hunter2@host\x1b[2J")

    record = record_of(severity=logging.ERROR)
    try:
        fail(200)
    except ConnectionError:
        record.exc_info = sys.exc_info()
    text = _json.format(record)
    exception = json.loads(text)["exception"]
    assert "\n" not in text
    assert exception.endswith("ConnectionError: no way to redis://user:***@host\\x1b[2J")
    assert "\n" in exception
    assert len(exception) < 20_000


class _Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class _Level(IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**70, str(2**70)),
        pytest.param(10**5000, "<int>", id="5000 digits"),
        (float("nan"), None),
        (b"\xff\x00", "b'\\xff\\x00'"),
        (_Unshowable(), "<_Unshowable>"),
        (_Level.HIGH, 3),
        pytest.param("\ud800", "\\ud800", id="surrogate"),
        pytest.param({1: "one", "\ud800": "two"}, {"1": "one", "\\ud800": "two"}, id="keys"),
        ((1, 2), [1, 2]),
    ],
)
def test_awkward_value_does_not_cost_the_line(value: object, shown: object) -> None:
    """What JSON can't hold is shown in the nearest way."""
    assert line_of(value=value)["value"] == shown


def test_container_that_holds_itself_ends() -> None:
    """A cycle is shown to a depth and not for ever."""
    cycle: list[object] = [1]
    cycle.append(cycle)
    assert line_of(value=cycle)["value"][0] == 1


def test_line_has_a_bounded_number_of_fields() -> None:
    """A thousand fields are not a line that anybody reads."""
    fields: dict[str, Any] = {f"n{number}": number for number in range(1000)}
    assert len(line_of(**fields)) == 64


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.binary() | st.none()))
def test_any_text_makes_one_valid_line(event: str, fields: dict[str, Any]) -> None:
    """Whatever comes, the line is JSON, one line, and shows its logger."""
    record = record_of(event)
    record.__dict__.update({f"x{name}": value for name, value in fields.items()})
    text = _json.format(record)
    assert not _CONTROL.search(text)
    text.encode()
    assert json.loads(text)["logger"] == "streamsite.test"


@given(st.text(max_size=3000))
def test_any_text_is_safe_on_a_terminal(event: str) -> None:
    """Whatever comes, nothing but colours controls the terminal."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", _terminal.format(record_of(event, value=event)))
    assert not _CONTROL.search(text)


def test_structlog_lines_look_like_all_others() -> None:
    """A structlog logger gives the same fields, its bound values included."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(_json.format(record))

    stdlib = logging.getLogger("streamsite.test.structlog")
    stdlib.setLevel(logging.INFO)
    stdlib.addHandler(Handler())
    stdlib.propagate = False
    logger = structlog.wrap_logger(
        stdlib,
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    logger.bind(stream="a").warning("test.bound", value="redis://u:hunter2@h")
    logger.debug("test.quiet")
    (line,) = [json.loads(text) for text in lines]
    assert (line["event"], line["level"], line["logger"]) == ("test.bound", "warning", "streamsite.test.structlog")
    assert (line["stream"], line["value"]) == ("a", "redis://u:***@h")


def test_terminal_line_leaves_out_what_a_person_knows() -> None:
    """Colours, and neither the service's name nor an empty request id."""
    text = _terminal.format(record_of("test.event", stream="a"))
    assert "\x1b[" in text
    assert "service_name" not in text
    assert "request_id" not in text


@pytest.mark.parametrize("is_terminal", [True, False])
def test_configuration_is_taken_by_the_standard_library(is_terminal: bool, with_logging_restored: None) -> None:
    """`dictConfig` builds what logging_config says, at the level that was asked for."""
    logging.config.dictConfig(logging_config("WARNING", is_terminal))
    assert logging.getLogger().level == logging.WARNING
    (handler,) = logging.getLogger().handlers
    assert type(handler).__name__ == "BackgroundHandler"
