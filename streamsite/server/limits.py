"""What one client may take: bytes, fields and seconds. Every number is here, and its reason."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a connection and its requests; the seconds can be set, the bytes are the same everywhere.

    Args:
        head_bytes, line_bytes, fields: of a request's head (what nginx and Apache take too; llhttp has no bound).
        framing_bytes: chunk extensions and request trailers of one body, which no application sees.
        held_bytes: of a body that the application does not take, and of requests behind the one being answered.
        head_s: from the first byte of a head, or the start of a connection, to the head's end.
        body_s: for a whole body. body_grace_s, body_rate_bytes_per_s: from when on, and how fast it has to come.
        idle_s: between an answer and the next request.
        write_s: without any progress of a client that does not read.
        linger_s: for a client to take the answer to a request that it still sends.
        leave_s: for an application to end after its client has left.
    """

    head_bytes: int = 32 * 1024
    line_bytes: int = 8 * 1024
    fields: int = 100
    framing_bytes: int = 16 * 1024
    held_bytes: int = 64 * 1024
    head_s: float = 10.0
    body_s: float = 300.0
    body_grace_s: float = 10.0
    body_rate_bytes_per_s: int = 1024
    idle_s: float = 75.0
    write_s: float = 60.0
    linger_s: float = 2.0
    leave_s: float = 10.0
