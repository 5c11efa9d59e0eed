"""Creating, describing, listing, closing and deleting streams. One call, one request; none is repeated here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .errors import BadAnswer, ProblemAnswer, StreamMissing
from .site import Site

__all__ = [
    "StreamInfo",
    "close_stream",
    "create_stream",
    "delete_prefix",
    "delete_stream",
    "describe_stream",
    "list_streams",
    "with_counts",
]

PAGE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a server says of a stream; None where it says nothing."""

    name: str
    content_type: str
    tail_offset: str
    closed: bool
    events: int | None = None
    bytes: int | None = None
    created_at: str | None = None
    expires_at: str | None = None
    ttl_s: int | None = None
    retention: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The known fields, as the commands print them."""
        return {name: value for name, value in asdict(self).items() if value is not None}


async def create_stream(
    site: Site,
    name: str,
    content_type: str,
    *,
    ttl_s: int | None = None,
    expires_at: str | None = None,
    retention: str | None = None,
    closed: bool = False,
) -> tuple[StreamInfo, bool]:
    """Create a stream, or find that it exists with the same settings.

    Returns: the stream, and whether it is new.
    Raises: ProblemAnswer: 409 when it exists with other settings.
    """
    headers = {"Content-Type": content_type}
    if ttl_s is not None:
        headers["Stream-TTL"] = str(ttl_s)
    if expires_at is not None:
        headers["Stream-Expires-At"] = expires_at
    if retention is not None:
        headers["Stream-Retention"] = retention
    if closed:
        headers["Stream-Closed"] = "true"
    answer = await site.request("PUT", site.stream_url(name), headers=headers)
    return _info(name, answer.headers, default_type=content_type), answer.status_code == 201


async def describe_stream(site: Site, name: str) -> StreamInfo:
    """Ask for a stream's metadata.

    Raises: StreamMissing: there is none.
    """
    answer = await site.request("HEAD", site.stream_url(name))
    return _info(name, answer.headers)


async def with_counts(site: Site, info: StreamInfo) -> StreamInfo:
    """The same stream with its counts, from the list; unchanged where the server has no list (it is an extension)."""
    try:
        async for listed in list_streams(site, prefix=info.name, limit=1):
            if listed.name != info.name:
                break
            known = {
                **info.as_json(),
                **{key: value for key, value in listed.as_json().items() if key not in info.as_json()},
            }
            return StreamInfo(**known)
    except (ProblemAnswer, BadAnswer):
        return info
    return info


async def list_streams(
    site: Site, *, prefix: str = "", after: str = "", limit: int | None = None
) -> AsyncIterator[StreamInfo]:
    """All streams whose names begin with a prefix, in the order of their names, page by page.

    Args:
        after: only names behind this one.
        limit: at most so many; None for all.
    """
    left = limit
    while left is None or left > 0:
        params = {"limit": str(PAGE_LIMIT if left is None else min(left, PAGE_LIMIT))}
        if prefix:
            params["prefix"] = prefix
        if after:
            params["after"] = after
        try:
            answer = await site.request("GET", site.list_url, params=params)
        except StreamMissing as error:
            raise BadAnswer(f"{site.url} has no list of streams; that is an extension of streamsite") from error
        try:
            page = answer.json()
            infos = [_listed(entry) for entry in page["streams"]]
            after = page.get("next") or ""
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{site.list_url} did not answer with a list of streams") from error
        for info in infos:
            yield info
        if left is not None:
            left -= len(infos)
        if not after or not infos:
            return


async def close_stream(site: Site, name: str) -> str:
    """Close a stream for ever; closing it again is no error. Returns its final offset."""
    answer = await site.request("POST", site.stream_url(name), headers={"Stream-Closed": "true"}, content=b"")
    return str(answer.headers.get("stream-next-offset", ""))


async def delete_stream(site: Site, name: str) -> None:
    """Delete a stream and its events.

    Raises: StreamMissing: there is none.
    """
    await site.request("DELETE", site.stream_url(name))


async def delete_prefix(site: Site, prefix: str) -> int:
    """Delete every stream whose name begins with a prefix; return how many there were."""
    answer = await site.request("DELETE", site.list_url, params={"prefix": prefix}, timeout_s=120.0)
    try:
        return int(answer.json()["deleted"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadAnswer(f"{site.list_url} did not say how many streams it deleted") from error


def _info(name: str, headers: Mapping[str, str], *, default_type: str = "") -> StreamInfo:
    offset = headers.get("stream-next-offset")
    if offset is None:
        raise BadAnswer(f"the answer for {name} has no Stream-Next-Offset; is this a Durable Streams server?")
    ttl = headers.get("stream-ttl", "")
    return StreamInfo(
        name=name,
        content_type=headers.get("content-type", default_type),
        tail_offset=offset,
        closed=headers.get("stream-closed", "").lower() == "true",
        expires_at=headers.get("stream-expires-at"),
        ttl_s=int(ttl) if ttl.isdecimal() else None,
        retention=headers.get("stream-retention"),
    )


def _listed(entry: Mapping[str, Any]) -> StreamInfo:
    return StreamInfo(
        name=str(entry["name"]),
        content_type=str(entry["content_type"]),
        tail_offset=str(entry["tail_offset"]),
        closed=bool(entry["closed"]),
        events=entry.get("events"),
        bytes=entry.get("bytes"),
        created_at=entry.get("created_at"),
        expires_at=entry.get("expires_at"),
        ttl_s=entry.get("ttl_s", entry.get("ttl")),
        retention=entry.get("retention"),
    )
