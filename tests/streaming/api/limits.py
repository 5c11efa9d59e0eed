"""Every limit: the one table behind docs/reference/limits.md, its numbers read from the code."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from streaming import durability, store
from streaming.api import health, listing, requests
from streaming.conf import StreamingSettings
from streaming.log import appender, forks, group_commit, scripts
from streaming.names import MAX_NAME_BYTES
from streaming.wire import content, event_type, json_mode

__all__ = ["LIMITS", "Limit", "document_rows"]


@dataclass(frozen=True)
class Limit:
    """One row.

    Args:
        what: is limited.
        value: of the limit, in the unit.
        setting: the field of StreamingSettings that it is the default of; empty for what can't be set.
        answer: when it is passed.
    """

    what: str
    value: float
    unit: str
    setting: str
    answer: str

    @property
    def row(self) -> str:
        """As it stands in the documentation."""
        variable = f"`STREAMSITE_{self.setting.upper()}`" if self.setting else "–"
        return f"| {self.what} | {_written(self.value, self.unit)} | {variable} | {self.answer} |"


def _problem(status: int, slug: str, more: str = "") -> str:
    return f"{status} [{slug}](errors.md#{slug}){more}"


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(StreamingSettings)}


def _setting(what: str, name: str, unit: str, answer: str) -> Limit:
    value = _DEFAULTS[name]
    assert isinstance(value, int | float), name
    return Limit(what, value, unit, name, answer)


def _fixed(what: str, value: float, unit: str, answer: str) -> Limit:
    return Limit(what, value, unit, "", answer)


def _in_script(script: scripts.Script, pattern: str) -> int:
    """A number that stands in a script."""
    found = re.findall(pattern, script.text.decode())
    assert len(found) == 1, pattern
    return int(found[0])


LIMITS: Mapping[str, Sequence[Limit]] = {
    "Requests": (
        _setting("request body", "max_body_bytes", "bytes", _problem(413, "too-large", "; the connection ends")),
        _setting("events in one append", "max_append_events", "", _problem(413, "too-large")),
        _fixed("stream name, UTF-8", MAX_NAME_BYTES, "bytes", _problem(400, "bad-name")),
        _fixed("`Content-Type`", content.MAX_CONTENT_TYPE_BYTES, "bytes", _problem(400, "unsupported-media-type")),
        _fixed("`Producer-Id`, `Stream-Seq`", requests.MAX_TOKEN_BYTES, "bytes", _problem(400, "bad-header")),
        _fixed("`Producer-Epoch`, `Producer-Seq`", requests.MAX_SAFE_INTEGER, "", _problem(400, "bad-header")),
        _fixed("`Stream-TTL`", requests.MAX_TTL_S, "s", _problem(400, "bad-header")),
        _fixed("N of `replicated:N`", durability.MAX_REPLICAS, "", _problem(400, "bad-header")),
    ),
    "Events": (
        _setting("data of one event of a JSON or text stream", "max_event_bytes", "bytes", _problem(413, "too-large")),
        _fixed(
            "data of one event of a binary stream",
            appender.BINARY_SPLIT_BYTES,
            "bytes",
            "a longer body is stored as several events",
        ),
        _fixed("`Stream-Event-Type`", event_type.MAX_EVENT_TYPE_BYTES, "bytes", _problem(400, "bad-event-type")),
        _fixed("depth of JSON", json_mode.MAX_DEPTH, "", _problem(400, "bad-json")),
    ),
    "Streams": (
        _fixed(
            "producers that a stream remembers", group_commit.MAX_PRODUCERS, "", _problem(409, "too-many-producers")
        ),
        _fixed(
            "appends of a producer whose offsets are remembered",
            _in_script(scripts.APPEND, r"PRODUCER_MEMORY = (\d+)"),
            "",
            "a duplicate of an older one is answered without its offset",
        ),
        _fixed("forks upon forks", forks.MAX_SEGMENTS, "", _problem(400, "fork-too-deep")),
    ),
    "Reading": (
        _setting("data of one page; one event is always given", "page_bytes", "bytes", "more comes on the next page"),
        _fixed(
            "events of one page, about",
            _in_script(scripts.READ, r"#entries >= (\d+)"),
            "",
            "more comes on the next page",
        ),
        _setting("`tail=`", "max_tail", "", "taken as the limit"),
        _fixed("`limit=` of a list", listing.MAX_LIMIT, "", "taken as the limit"),
        _fixed("`limit=` that is not given", listing.DEFAULT_LIMIT, "", "more comes on the next page"),
        _setting(
            "newest events that a process keeps of a followed stream",
            "window_bytes",
            "bytes",
            "older ones are read from Redis",
        ),
    ),
    "Time": (
        _setting("silence of a live answer", "heartbeat_s", "s", "a heartbeat"),
        _setting("`retry:` of native SSE; up to half is added by chance", "sse_retry_ms", "ms", "–"),
        _setting("wait of a long-poll", "long_poll_s", "s", "204"),
        _setting("life of a live answer; 0 = no end", "sse_max_s", "s", "it ends; go on by the last offset"),
        _setting(
            "an append, creation or deletion",
            "append_deadline_s",
            "s",
            f"{_problem(503, 'outcome-unknown')}, or {_problem(503, 'store-unavailable')} if it can't have happened",
        ),
        _setting("a read", "read_deadline_s", "s", _problem(503, "store-unavailable")),
        _setting("between looks at followed streams whose push may be lost", "head_check_s", "s", "–"),
        _fixed("the read of `/readyz`", health.READ_WITHIN_S, "s", "503"),
    ),
    "One process": (
        _fixed("appends that wait for Redis", group_commit.MAX_QUEUED, "", _problem(503, "overloaded")),
        _fixed(
            "data of appends that wait for Redis", group_commit.MAX_QUEUED_BYTES, "bytes", _problem(503, "overloaded")
        ),
        _fixed("data of appends that are written together", group_commit.MAX_GROUP_BYTES, "bytes", "the rest follows"),
        _fixed(
            "data that travel with a push to the processes; larger ones are read from Redis",
            group_commit.MAX_PUSH_BYTES,
            "bytes",
            "only their offset travels",
        ),
        _fixed("connections for reading, to each Redis of a Cluster", store.MAX_CONNECTIONS, "", "the rest wait"),
    ),
}


def document_rows() -> Iterator[str]:
    """The tables as they stand in the documentation."""
    for title, limits in LIMITS.items():
        yield from (f"## {title}", "", "| limit on | default | setting | when it is passed |", "|---|---|---|---|")
        yield from (limit.row for limit in limits)
        yield ""


def _written(value: float, unit: str) -> str:
    """A number as people read it."""
    if value == requests.MAX_SAFE_INTEGER:
        return "2^53 - 1"
    if unit == "bytes":
        for size, name in ((1024**2, "MiB"), (1024, "KiB")):
            if value % size == 0:
                return f"{value / size:g} {name}"
    if unit == "s" and value >= 86_400 and value % 86_400 == 0:
        return f"{value / 86_400:,.0f} days"
    return f"{value:,.15g} {unit}".strip()
