"""Observability: request ids, logs, metrics and spans; this module is the face that the other packages see.

It knows nothing of streams: whoever has something to count or to log brings it here. Django is needed by the middleware,
the URLs and the app only, so that what has to start fast can import the face.
"""

from __future__ import annotations

from observability import metrics, request_id

__all__ = ["metrics", "request_id"]
