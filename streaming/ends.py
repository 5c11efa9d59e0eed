"""Why delivery to one reader is over: each way is a named value."""

from __future__ import annotations

from enum import Enum

__all__ = ["EndReason"]


class EndReason(Enum):
    """The value is the metric label and the log field."""

    CLOSED = "closed"
    """The stream is closed and everything was delivered; coming back is pointless."""
    LIFETIME = "lifetime"
    """The configured life of one connection is over; come back with the last offset."""
    DRAINED = "drained"
    """The process stops; come back with the last offset."""
    GONE = "gone"
    """The client left."""
    DELETED = "deleted"
    """The stream was deleted or has expired."""
    REWOUND = "rewound"
    """The log lost events that this reader already had."""
    REMOVED = "removed"
    """Retention removed what this reader would have had next."""
    ERROR = "error"
    """A fault of ours; the log has the traceback."""
