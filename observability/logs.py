"""What a log line looks like: one JSON object a line, or colours where a person watches.

Everything is logged through the standard library, `extra={...}` becoming fields, or through structlog. Each line has
`timestamp`, `level`, `event`, `logger`, `service_name` and `request_id`. Values come from outside as often as not, so
each is bounded, loses its secrets, and can't move a terminal's cursor or begin a line of its own. How lines get
written is `observability/log_writer.py`.
"""

from __future__ import annotations

import logging
import logging.config
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog

from observability.request_id import request_id

__all__ = ["configure", "logging_config"]

MAX_VALUE_BYTES = 1024
MAX_TRACEBACK_BYTES = 16 * 1024
"""A traceback is ours, not the client's, and says most at its end, which is the part that is kept."""
MAX_EVENT_FIELDS = 64
MAX_ITEMS = 32
MAX_DEPTH = 3
_MAX_READ = 8 * MAX_VALUE_BYTES
"""What is searched for secrets of a longer value. More than is kept, so that no secret is cut where it isn't seen."""

_MAX_PLAIN = 256
_NOT_PLAIN = re.compile("[ :=]")
"""Without one of these there is no URL, no key and no Authorization header in a text."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_OURS = frozenset({"timestamp", "level", "event", "logger", "service_name"})
_TRACEBACKS = frozenset({"exception", "stack"})
_SECRET_FIELDS = frozenset(
    {"api_key", "authorization", "cookie", "password", "secret", "secret_key", "set_cookie", "token"}
)

_URL_PASSWORD = re.compile(r"(://[^\s:@/]*):[^\s@/]*@")
_URL_SECRET = re.compile(
    r"([?&](?:access_token|api_?key|key|password|secret|sig|signature|token)=)[^&\s#\"'<>]+", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
# JSON escapes C0 by itself. What it leaves: DEL and C1 (a terminal takes U+009B as ESC [), line separators, the marks
# that turn text round, and lone surrogates, which UTF-8 can't hold.
_LEFT_BY_JSON = "\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE_IN_JSON = re.compile(f"[{_LEFT_BY_JSON}]")
_UNSAFE_ON_TERMINAL = re.compile(f"[\x00-\x1f{_LEFT_BY_JSON}]")
_UNSAFE_IN_TRACEBACK = re.compile(f"[\x00-\x08\x0b-\x1f{_LEFT_BY_JSON}]")


def logging_config(level: str, is_terminal: bool, service_name: str = "streamsite") -> dict[str, Any]:
    """The dictionary for `logging.config.dictConfig`, or for Django's LOGGING.

    Args:
        level: of our lines, a name such as INFO. Some libraries are quieter.
        is_terminal: coloured lines for a person instead of JSON.
        service_name: in every JSON line.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": make_formatter, "is_terminal": is_terminal, "service_name": service_name}},
        "handlers": {"stderr": {"class": "observability.log_writer.BackgroundHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {
            "daphne": {"level": "WARNING"},  # tells at every start what it listens on, as serve does
            "django.request": {"level": "ERROR"},  # a 4xx has its line from the middleware
            "django.channels.server": {"level": "WARNING"},  # so has every other request
            "httpx": {"level": "WARNING"},  # each request with its URL, query included
            "httpcore": {"level": "WARNING"},
        },
    }


def configure(level: str, is_terminal: bool, service_name: str = "streamsite") -> None:
    """Set up logging for the process: the standard library's, structlog's, and warnings."""
    logging.config.dictConfig(logging_config(level, is_terminal, service_name))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def make_formatter(*, is_terminal: bool, service_name: str) -> logging.Formatter:
    """The formatter that turns a record into a line."""
    unsafe = _UNSAFE_ON_TERMINAL if is_terminal else _UNSAFE_IN_JSON
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            _Complete(service_name),
            _Clean(unsafe),
            _render_for_terminal() if is_terminal else _render_json,
        ]
    )


class _Complete:
    """Adds what every line has, in a fixed order, and the record's `extra`."""

    def __init__(self, service_name: str) -> None:
        self._service_name = service_name

    def __call__(self, _logger: Any, _name: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        record: logging.LogRecord = fields["_record"]
        line: dict[str, Any] = {
            # With microseconds always: isoformat leaves them out when they are zero.
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "event": fields.pop("event", ""),
            "logger": record.name,
            "service_name": self._service_name,
            "request_id": request_id.get(),
        }
        extra = {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        for name, value in (*extra.items(), *fields.items()):
            if not name.startswith("_"):
                line[f"field_{name}" if name in _OURS else name] = value
            if len(line) >= MAX_EVENT_FIELDS:
                break
        return line


class _Clean:
    """Bounds every value, masks secrets and escapes what could forge or hide something."""

    def __init__(self, unsafe: re.Pattern[str]) -> None:
        self._unsafe = unsafe

    def __call__(self, _logger: Any, _name: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {self._text(name): self._field(name, value) for name, value in fields.items()}

    def _field(self, name: str, value: Any) -> Any:
        if name in _TRACEBACKS:
            text = _redact(str(value)[-MAX_TRACEBACK_BYTES:])
            return _UNSAFE_IN_TRACEBACK.sub(_escape, text)
        cleaned = self._value(name, value, 0)
        if isinstance(cleaned, dict | list):
            encoded = orjson.dumps(cleaned)
            return cleaned if len(encoded) <= MAX_VALUE_BYTES else _cut(encoded.decode())
        return cleaned

    def _value(self, name: str, value: Any, depth: int) -> Any:
        if name.lower().replace("-", "_") in _SECRET_FIELDS and value:
            return "***"
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int) and -(2**63) <= value < 2**64:
            return int(value)  # an IntEnum too
        if depth < MAX_DEPTH and isinstance(value, Mapping):
            return {
                self._text(str(key)): self._value(str(key), item, depth + 1)
                for key, item in list(value.items())[:MAX_ITEMS]
            }
        if depth < MAX_DEPTH and isinstance(value, list | tuple | set | frozenset):
            return [self._value("", item, depth + 1) for item in list(value)[:MAX_ITEMS]]
        try:
            return self._text(str(value))
        except Exception:  # noqa: BLE001 - a value that can't be shown must not cost the line
            return f"<{type(value).__name__}>"

    def _text(self, text: str) -> str:
        if text.isascii() and text.isprintable() and len(text) <= _MAX_PLAIN and not _NOT_PLAIN.search(text):
            return text  # what most values are: a third of a line's cost
        return self._unsafe.sub(_escape, _cut(_redact(text[:_MAX_READ])))


def _redact(text: str) -> str:
    """Take passwords and keys out of URLs and Authorization headers."""
    if "://" in text:
        text = _URL_PASSWORD.sub(r"\1:***@", text)
    if "=" in text:
        text = _URL_SECRET.sub(r"\1***", text)
    return _CREDENTIALS.sub(r"\1 ***", text)


def _cut(text: str) -> str:
    if len(text) * 4 <= MAX_VALUE_BYTES:  # the common case, without encoding
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= MAX_VALUE_BYTES:
        return text
    return encoded[: MAX_VALUE_BYTES - 3].decode("utf-8", "ignore") + "…"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _render_json(_logger: Any, _name: str, fields: structlog.typing.EventDict) -> str:
    return orjson.dumps(fields).decode()


def _render_for_terminal() -> structlog.typing.Processor:
    render = structlog.dev.ConsoleRenderer(
        colors=True, sort_keys=False, pad_event_to=24, exception_formatter=structlog.dev.plain_traceback
    )

    def render_line(logger: Any, name: str, fields: structlog.typing.EventDict) -> str:
        # Of no use to a person: whose terminal it is, is known.
        del fields["service_name"]
        if not fields["request_id"]:
            del fields["request_id"]
        return str(render(logger, name, fields))

    return render_line
