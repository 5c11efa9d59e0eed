r"""A client for any Durable Streams server: an idempotent producer, a resuming reader, and control of streams.

Asynchronous, on httpx. It knows nothing of Django and shares no state with a server in the same process:

    async with Site("http://127.0.0.1:8000") as site:
        async with Producer(site, "host/vmstat", "text/plain") as producer:
            await producer.append(b"one line\\n")
        async for event in Reader(site, "host/vmstat", follow=False).events():
            print(event)
"""

from __future__ import annotations

from .control import (
    StreamInfo,
    close_stream,
    create_stream,
    delete_prefix,
    delete_stream,
    describe_stream,
    list_streams,
    with_counts,
)
from .errors import (
    BadAnswer,
    ClientError,
    GaveUp,
    NoAnswer,
    NotSent,
    ProblemAnswer,
    ProducerFenced,
    SequenceGap,
    StreamGone,
    StreamIsClosed,
    StreamMissing,
    UsageError,
)
from .producer import Producer, ProducerStatistics, is_json
from .reader import NOW, START, Reader, ReadEvent
from .retry import Backoff, Listener, Quiet, until_answered
from .site import DEFAULT_URL, Site

__all__ = [
    "DEFAULT_URL",
    "NOW",
    "START",
    "Backoff",
    "BadAnswer",
    "ClientError",
    "GaveUp",
    "Listener",
    "NoAnswer",
    "NotSent",
    "ProblemAnswer",
    "Producer",
    "ProducerFenced",
    "ProducerStatistics",
    "Quiet",
    "ReadEvent",
    "Reader",
    "SequenceGap",
    "Site",
    "StreamGone",
    "StreamInfo",
    "StreamIsClosed",
    "StreamMissing",
    "UsageError",
    "close_stream",
    "create_stream",
    "delete_prefix",
    "delete_stream",
    "describe_stream",
    "is_json",
    "list_streams",
    "until_answered",
    "with_counts",
]
