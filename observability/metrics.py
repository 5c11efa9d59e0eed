"""The metrics: every one that streamsite exports, declared once, with the words that an operator reads.

They are prometheus_client's objects in its default registry, the one that django_prometheus exports. `.labels()` of
prometheus_client costs a microsecond and accepts any text, so a metric with one label is a `Family` here: its children
are made once, from a closed set, and whatever is not in the set is counted as `other`. A fuzz run can't add a series.

`describe()` gives the rows of docs/reference/metrics.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPMethod, HTTPStatus
from typing import Generic, Literal, NamedTuple, TypeVar

from prometheus_client import Counter, Gauge, Histogram

__all__ = ["Description", "Family", "add_description", "count_request", "describe"]

OTHER = "other"
"""The label of everything that no closed set knows."""

_COMMAND_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""A local Redis answers in 0.2 ms; the deadlines are 5 s, so that a time-out has a bucket of its own."""
_REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""The last one is where a long-poll without events ends."""

_LIVE_FORMATS = ("native_sse", "sse", "ndjson", "long_poll")
_FORMATS = (*_LIVE_FORMATS, "catch_up", "ndjson_page")
_REJECTIONS = (
    # what the interface refuses before the log is asked
    "bad_event_type", "bad_header", "bad_json", "bad_name", "bad_text", "closed", "draining", "empty_array", "empty_body",
    "encoded_body", "too_large", "unsupported_media_type",
    # what the stream does not take
    "content_type_mismatch", "durability_unavailable", "not_found", "producer_epoch_start", "producer_fenced", "producer_gap",
    "sequence_regression", "stream_closed", "stream_deleted", "too_many_producers",
    # what Redis, or the way to it, refuses
    "outcome_unknown", "overloaded", "store_full", "store_readonly", "store_unavailable", "unconfirmed",
)  # fmt: skip
_COMMANDS = (
    "append", "create", "delete", "read", "touch", "trim", "fork_link", "fork_pin", "fork_release",
)  # fmt: skip
_ENDS = ("closed", "lifetime", "drained", "gone", "deleted", "rewound", "removed", "error")
_GAP_CAUSES = ("subscribe", "hole", "idle", "delete", "large", "push")
_METHODS = frozenset(HTTPMethod) - {HTTPMethod.CONNECT, HTTPMethod.TRACE}
_STATUSES = frozenset(HTTPStatus)

_M = TypeVar("_M", Counter, Gauge, Histogram)
Together = Literal["livesum", "livemin", "livemax", "livemostrecent"]


class Description(NamedTuple):
    """One row of the reference page.

    Args:
        name: as it is exported; a histogram's is followed by `_bucket`, `_sum` and `_count`.
        type: counter, gauge or histogram.
        labels: their names.
        help: what it says to an operator.
    """

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


_descriptions: list[Description] = []


class Family(Generic[_M]):
    """A metric with one label from a closed set; its children are made once.

    Args:
        parent: the metric itself.
        values: all values of the label, with `_` between words.
        is_preset: export every child from the start, so that the first increment is seen as one.
    """

    def __init__(self, parent: _M, values: Iterable[str], *, is_preset: bool = True) -> None:
        self._parent: _M = parent
        self._values = tuple(values)
        self._children: dict[str, _M] = {}
        if is_preset:
            for value in self._values:
                self.labels(value)

    def labels(self, value: str) -> _M:
        """The child for a value; hyphens count as underscores, so that the slug of a problem fits as it is."""
        child = self._children.get(value)
        if child is None:
            name = value.replace("-", "_")
            known = name if name in self._values else OTHER
            child = self._children.get(known)
            if child is None:
                child = self._children[known] = self._parent.labels(known)
            if known != OTHER:  # the spellings of what is unknown are without number
                self._children[value] = child
        return child


def add_description(description: Description) -> Description:
    """Note a metric that is not declared here, for `describe`."""
    _descriptions.append(description)
    return description


def describe() -> list[Description]:
    """What is exported, in the order of declaration."""
    return list(_descriptions)


def _declare(
    metric: Callable[..., _M],
    name: str,
    help_: str,
    *labels: str,
    buckets: tuple[float, ...] | None = None,
    together: Together = "livesum",
) -> _M:
    """Make a metric and note it for `describe`.

    Args:
        together: what one number says for several workers where it is a gauge; `live…` forgets those that have ended.
    """
    kind = str(getattr(metric, "__name__", "")).lower()
    add_description(Description(name, kind, labels, help_))
    if metric is Gauge:
        return metric(name, help_, labels, multiprocess_mode=together)
    return metric(name, help_, labels) if buckets is None else metric(name, help_, labels, buckets=buckets)


# Redis

redis_up = _declare(
    Gauge,
    "stream_redis_up",
    "1 while Redis answers, 0 from the first failure until it is back. Without it nothing is appended or read.",
    together="livemin",
)
redis_reconnects = _declare(Counter, "stream_redis_reconnects_total", "Times that Redis came back after it was lost.")
redis_aof_last_write_ok = _declare(
    Gauge,
    "stream_redis_aof_last_write_ok",
    "0 when Redis could not write its append-only file, mostly because the disk is full: appends are refused with 503 store-readonly.",
    together="livemin",
)
# Nothing is known to be wrong before Redis was asked, and an alert on 0 must not fire at every start.
redis_aof_last_write_ok.set(1)
redis_command_seconds = Family(
    _declare(
        Histogram,
        "stream_redis_command_seconds",
        "Time that a script took in Redis and on the way, by script; 5 s and more are deadlines that ran out.",
        "command",
        buckets=_COMMAND_BUCKETS_S,
    ),
    _COMMANDS,
    is_preset=False,  # 18 series each, and most sites use a few
)

# The log

log_bytes = _declare(
    Gauge,
    "stream_log_bytes",
    "Memory that Redis uses, in bytes: the log and what it needs beside it.",
    together="livemostrecent",
)
log_limit_bytes = _declare(
    Gauge,
    "stream_log_limit_bytes",
    "Redis' maxmemory in bytes, 0 without one; appends are refused with 507 store-full when it is reached.",
    together="livemostrecent",
)
log_durability_info = _declare(
    Gauge,
    "stream_log_durability_info",
    "1 for what an acknowledgement means here: written, fsynced or replicated:N.",
    "mode",
    together="livemax",
)
log_incarnation_changes = _declare(
    Counter,
    "stream_log_incarnation_changes_total",
    "Times that Redis was found to be another process than before, restarted or another server, whether anything is lost or not.",
)
log_rewinds = _declare(
    Counter,
    "stream_log_rewinds_total",
    "Followed streams that lost events which had been seen already; their readers were told (stream-rewound).",
)
rewound_reads = _declare(
    Counter, "stream_rewound_reads_total", "Reads answered with 410 stream-rewound: the event of that offset is lost."
)
events_corrupt = _declare(
    Counter,
    "stream_events_corrupt_total",
    "Events read whose checksum is wrong; readers get event-corrupt instead of the data.",
)

# Appending

appends = _declare(Counter, "stream_appends_total", "Appends acknowledged, repetitions not counted.")
events_in = _declare(Counter, "stream_events_in_total", "Events appended.")
bytes_in = _declare(Counter, "stream_bytes_in_total", "Bytes of data appended.")
append_rejected = Family(
    _declare(
        Counter,
        "stream_append_rejected_total",
        "Appends answered with an error, by its problem type; nothing was stored, but for unconfirmed (all was) and outcome_unknown (all or nothing).",
        "reason",
    ),
    _REJECTIONS,
)
append_unconfirmed = _declare(
    Counter,
    "stream_append_unconfirmed_total",
    "Appends that are written, but did not get as safe as was asked in time (503 unconfirmed).",
)
append_duplicates = _declare(
    Counter, "stream_append_duplicates_total", "Appends that a producer repeated and the log already had; harmless."
)
producer_fenced = _declare(
    Counter, "stream_producer_fenced_total", "Appends refused because a newer producer with the same id took over."
)

# Reading

feeds = _declare(Gauge, "stream_feeds", "Streams that this process follows.")
readers = Family(
    _declare(Gauge, "stream_readers", "Live readers connected now, by wire format.", "format"), _LIVE_FORMATS
)
readers_degraded = _declare(
    Gauge,
    "stream_readers_degraded",
    "Live readers that get heartbeats alone, because Redis is away; what comes meanwhile they get when it is back.",
)
readers_ended = Family(
    _declare(Counter, "stream_readers_ended_total", "Live readers that ended, by reason.", "reason"), _ENDS
)
events_out = Family(
    _declare(Counter, "stream_events_out_total", "Events delivered, by wire format.", "format"), _FORMATS
)
bytes_out = Family(
    _declare(Counter, "stream_bytes_out_total", "Bytes of response bodies delivered, by wire format.", "format"),
    _FORMATS,
)
follower_gaps = Family(
    _declare(
        Counter,
        "stream_follower_gaps_total",
        "Gaps in Redis' pushes that were filled from the log, by what showed them.",
        "cause",
    ),
    _GAP_CAUSES,
)
follower_gap_events = _declare(Counter, "stream_follower_gap_events_total", "Events that were read to fill such gaps.")

# HTTP

http_requests = _declare(
    Counter, "stream_http_requests_total", "Requests answered, by method and status.", "method", "status"
)
request_seconds = Family(
    _declare(
        Histogram,
        "stream_request_seconds",
        "Time until the answer, or of a stream its header, was ready to be sent; a long-poll's includes its waiting.",
        "method",
        buckets=_REQUEST_BUCKETS_S,
    ),
    (*_METHODS, "OTHER"),
    is_preset=False,
)

# The server

connections = _declare(Gauge, "stream_connections", "HTTP connections that are open now.")
connections_timed_out = Family(
    _declare(
        Counter,
        "stream_connections_timed_out_total",
        "Connections ended because a time limit was over: head and body of a request came too slowly, nothing came, or nothing was read.",
        "phase",
    ),
    ("head", "body", "idle", "write"),
)
accept_pauses = _declare(
    Counter,
    "stream_accept_pauses_total",
    "Times that no more connections were accepted because the process had no descriptors left for them.",
)
requests_refused = Family(
    _declare(Counter, "stream_requests_refused_total", "Requests that the server itself refused, by status.", "status"),
    ("400", "408", "414", "417", "431", "500", "505"),
)
connections_flooding = Family(
    _declare(
        Counter,
        "stream_connections_flooding_total",
        "HTTP/2 connections ended because the client sent too many frames that cost us more than it, by kind.",
        "kind",
    ),
    ("resets", "control", "window_updates", "headers"),
)
drain_forced = _declare(
    Counter,
    "stream_drain_forced_total",
    "Requests that were cancelled because they did not end within the grace period.",
)

# The log lines

log_dropped = Family(
    _declare(
        Counter,
        "stream_log_dropped_total",
        "Log lines given up because they could not be written as fast as they came, by level.",
        "level",
    ),
    ("debug", "info", "warning", "error", "critical"),
)

_requests: dict[tuple[str, int], Counter] = {}


def count_request(method: str, status: int, seconds: float) -> None:
    """Count one answered request; a method or status that HTTP does not name is `OTHER`."""
    method = method if method in _METHODS else "OTHER"
    child = _requests.get((method, status))
    if child is None:
        text = str(status) if status in _STATUSES else "OTHER"
        child = http_requests.labels(method, text)
        if text != "OTHER":
            _requests[method, status] = child
    child.inc()
    request_seconds.labels(method).observe(seconds)
