"""Where a stream lives in Redis (docs/adr/0003). Pure.

All keys of a stream share a hash tag with the other streams of its bucket, so that one script can touch the stream, the
bucket's list of names and its generation, also in a Cluster. A name is percent-encoded in a key: no name reaches outside.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass
from urllib.parse import quote, unquote

__all__ = ["BUCKETS", "FORMAT_KEY", "StreamKeys", "bucket_of", "bucket_tag", "name_from_channel", "names_key"]

BUCKETS = 256
"""Part of the data format. Enough to spread over a Cluster of some 50 nodes, few enough to list all names at once."""
FORMAT_KEY = "streamsite:format"


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """The keys of one stream."""

    bucket: int
    state: str
    entries: str
    producers: str
    forks: str
    names: str
    generation: str
    channel: str

    @classmethod
    @functools.lru_cache(maxsize=4096)
    def of(cls, name: str) -> StreamKeys:
        """Keys for a name that `names.check_name` let through; 3 µs, and an append asks twice."""
        bucket = bucket_of(name)
        tag = bucket_tag(bucket)
        stem = f"{tag}:{quote(name, safe='/-._~')}"
        return cls(
            bucket=bucket,
            state=f"{stem}:s",
            entries=f"{stem}:e",
            producers=f"{stem}:p",
            forks=f"{stem}:f",
            names=names_key(bucket),
            generation=f"{tag}::generation",
            channel=f"{stem}:l",
        )


def bucket_of(name: str) -> int:
    """The bucket of a name, 0 to 255."""
    return zlib.crc32(name.encode()) % BUCKETS


def bucket_tag(bucket: int) -> str:
    """The beginning of every key of a bucket, with its hash tag."""
    return f"streamsite:{{{bucket:02x}}}"


def names_key(bucket: int) -> str:
    """The sorted set of a bucket's names. Two colons: no stream's key has an empty name."""
    return f"{bucket_tag(bucket)}::names"


def name_from_channel(channel: str) -> str:
    """The name that a push channel belongs to."""
    return unquote(channel.split(":", 2)[2].removesuffix(":l"))
