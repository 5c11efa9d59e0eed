"""The errors of the data path: whose fault it was is the type.

    StreamsiteError
    ├── RequestError      the caller's fault: carries the status and the problem type
    └── StoreError        Redis refused, or was not there in time: a 5xx problem

They are raised deep and turned into problem documents or in-band events in one place, `streaming/api/problems.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["ProblemError", "RequestError", "StoreError", "StreamsiteError"]


class StreamsiteError(Exception):
    """Base of every error that streamsite raises on purpose."""


class ProblemError(StreamsiteError):
    """An error that an HTTP answer can be made from.

    Args:
        status: the HTTP status.
        slug: the last part of the problem's `type`, stable for ever, a member of the registry in docs/reference/errors.md.
        detail: what came, and what would be right.
        headers: header fields the answer must carry, by the protocol.
        members: further members of the problem document (RFC 9457, 3.2).
    """

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.headers = dict(headers or {})
        self.members = dict(members or {})

    def __str__(self) -> str:
        return f"{self.slug} ({self.status}): {self.detail}"


class RequestError(ProblemError):
    """The caller asked for something that can't be; asking again unchanged can't help."""


class StoreError(ProblemError):
    """Redis refused the operation or did not answer in time.

    `outcome-unknown` means that the operation may have happened; every other slug means that it has not.
    """

    def __init__(self, status: int, slug: str, detail: str, *, retry_after_s: int = 1) -> None:
        super().__init__(status, slug, detail, headers={"Retry-After": str(retry_after_s)})
        self.retry_after_s = retry_after_s
