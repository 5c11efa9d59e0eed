"""What Redis' refusals and a script's result codes mean to a caller."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import AskError, MovedError, OutOfMemoryError, ReadOnlyError, ResponseError

from observability import metrics
from streaming.errors import ProblemError, RequestError, StoreError

__all__ = ["append_refused", "counted_appends", "is_moved", "not_found", "store_refused", "stream_deleted", "usable"]

logger = logging.getLogger("streamsite.log")
_last_logged: dict[str, float] = {}


@contextmanager
def counted_appends() -> Iterator[None]:
    """Count what an append ends with when it fails. Put round all of an append and nothing else, where its caller is answered."""
    try:
        yield
    except ProblemError as error:
        metrics.append_rejected.labels(error.slug).inc()
        raise


def store_refused(error: ResponseError, what: str) -> StoreError:
    """The error for a command that Redis refused, and so did not execute."""
    text = str(error)
    if isinstance(error, OutOfMemoryError) or "OOM command" in text:
        refusal = StoreError(
            507, "store-full", f"{what}: the store is full; delete or trim streams, or give Redis more memory"
        )
    elif "MISCONF" in text or "NOREPLICAS" in text:
        refusal = StoreError(
            503, "store-readonly", f"{what}: Redis refuses writes now ({text[:200]}); reading goes on", retry_after_s=5
        )
        if "AOF" in text:  # a failed snapshot is MISCONF too
            metrics.redis_aof_last_write_ok.set(0)
    elif isinstance(error, ReadOnlyError) or "READONLY" in text:
        refusal = StoreError(503, "store-unavailable", f"{what}: this Redis became a replica; nothing was done")
    else:
        refusal = StoreError(503, "store-unavailable", f"{what}: Redis refused ({text[:200]}); nothing was done")
    _log_once_a_second(refusal)
    return refusal


def is_moved(error: Any) -> bool:
    """Whether a Cluster said that the slot is elsewhere, or on its way."""
    return isinstance(error, (MovedError, AskError)) or (
        isinstance(error, ResponseError) and str(error).startswith(("CLUSTERDOWN", "TRYAGAIN"))
    )


def not_found(name: str) -> RequestError:
    """There is no such stream."""
    return RequestError(404, "not-found", f"there is no stream {name!r}; create it with PUT")


def stream_deleted(name: str) -> RequestError:
    """The stream was deleted, but forks still live on it."""
    return RequestError(410, "stream-deleted", f"the stream {name!r} was deleted; forks still hold its events")


def usable(name: str, reply: list[Any]) -> list[Any]:
    """A reply of read.lua, unless it says that there is nothing to read.

    Raises: RequestError.
    """
    if reply[0] == b"missing":
        raise not_found(name)
    if reply[0] == b"deleted":
        raise stream_deleted(name)
    return reply


def append_refused(name: str, media: str, result: list[Any]) -> RequestError:
    """The error for a result of append.lua that is neither `ok` nor `duplicate`."""
    code = result[0].decode()
    if code == "missing":
        return not_found(name)
    if code == "deleted":
        return stream_deleted(name)
    tail = result[1].decode()
    values = [value.decode() for value in result[3:]]
    match code:
        case "closed":
            headers = {"Stream-Closed": "true", "Stream-Next-Offset": tail}
            return RequestError(
                409, "stream-closed", f"the stream {name!r} is closed and takes no more events", headers=headers
            )
        case "mismatch":
            return RequestError(409, "content-type-mismatch", f"the stream {name!r} takes {media}")
        case "fenced":
            metrics.producer_fenced.inc()
            detail = (
                f"a producer with this id is at epoch {values[0]}; take epoch {int(values[0]) + 1} with seq 0 to go on"
            )
            return RequestError(403, "producer-fenced", detail, headers={"Producer-Epoch": values[0]})
        case "epoch-start":
            return RequestError(
                400, "producer-epoch-start", f"a new epoch (this producer's last is {values[0]}) begins with seq 0"
            )
        case "gap":
            headers = {"Producer-Expected-Seq": values[0], "Producer-Received-Seq": values[1]}
            return RequestError(
                409, "producer-gap", f"expected Producer-Seq {values[0]}, got {values[1]}", headers=headers
            )
        case "regression":
            return RequestError(409, "sequence-regression", f"Stream-Seq must be above the last one, {values[0]!r}")
        case _:
            return RequestError(
                409, "too-many-producers", f"the stream {name!r} remembers no more producers; use fewer producer ids"
            )


def _log_once_a_second(refusal: StoreError) -> None:
    now = time.monotonic()
    if now - _last_logged.get(refusal.slug, -1.0) >= 1.0:
        _last_logged[refusal.slug] = now
        logger.error("store.refused", extra={"problem": refusal.slug, "detail": refusal.detail})
