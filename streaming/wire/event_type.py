"""Event types: what an append may name its events. The encoders of `sse.py` refuse the worst of it once more.

Some names mean something to those who read: EventSource calls `onerror` and `onopen` for `error` and `open`, the protocol's
SSE has `data` and `control`, and the rest are streamsite's own in-band reports, which nobody else may forge.
"""

from __future__ import annotations

__all__ = [
    "EVENT_CORRUPT",
    "MAX_EVENT_TYPE_BYTES",
    "RESERVED_TYPES",
    "STREAM_GONE",
    "STREAM_REWOUND",
    "check_event_type",
]

MAX_EVENT_TYPE_BYTES = 128
"""The type is stored with each event and sent with each frame."""
EVENT_CORRUPT = "event-corrupt"
"""In-band: a stored event does not fit its checksum; its data are not sent."""
STREAM_GONE = "stream-gone"
"""In-band: the stream was deleted or has expired under its reader."""
STREAM_REWOUND = "stream-rewound"
"""In-band: the log went back behind what the reader has seen."""

RESERVED_TYPES = frozenset({"error", "open", "data", "control", STREAM_REWOUND, STREAM_GONE, EVENT_CORRUPT})


def check_event_type(raw: str) -> str:
    """Give back a type that events may have.

    Raises: ValueError: empty, too long, unprintable, with space at an end, or reserved; the message says what is allowed.
    """
    # isprintable() is false for controls (CR, LF, NUL, NEL), for U+2028 and U+2029, for lone surrogates, and for the
    # invisible format characters by which two types could look alike.
    if not raw or not raw.isprintable() or raw != raw.strip() or len(raw.encode()) > MAX_EVENT_TYPE_BYTES:
        raise ValueError(
            f"an event type is 1 to {MAX_EVENT_TYPE_BYTES} bytes of printable text without space at its ends, "
            f"got {raw[:MAX_EVENT_TYPE_BYTES]!r}"
        )
    if raw in RESERVED_TYPES:
        reserved = ", ".join(sorted(RESERVED_TYPES))
        raise ValueError(f"the event type {raw!r} means something to readers already; reserved are {reserved}")
    return raw
