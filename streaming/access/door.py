"""The door: nothing is served that the operator did not open."""

from __future__ import annotations

from streaming.conf import StreamingSettings
from streaming.errors import RequestError

__all__ = ["check_open"]


def check_open(settings: StreamingSettings) -> None:
    """Refuse a request while the site is closed.

    Raises: RequestError.
    """
    if not settings.open:
        raise RequestError(403, "closed", "this site is closed: nothing has been opened yet by its operator")
