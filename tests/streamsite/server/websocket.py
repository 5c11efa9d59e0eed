"""WebSocket byte by byte: what a client library would refuse to send."""

from __future__ import annotations

import base64
import json
import struct

from tests.streamsite.server.served import Served, Wire

__all__ = ["open_websocket", "read_frame", "websocket_frame", "websocket_head"]

HEAD = b" HTTP/1.1\r\nHost: localhost\r\n"


def websocket_frame(opcode: int, payload: bytes, *, is_masked: bool = True) -> bytes:
    """One frame as a client sends it, masked with zeros."""
    size = (
        bytes([len(payload) | 0x80 * is_masked])
        if len(payload) < 126
        else struct.pack("!BH", 126 | 0x80 * is_masked, len(payload))
    )
    return bytes([0x80 | opcode]) + size + (b"\0" * 4 if is_masked else b"") + payload


def websocket_head(fields: bytes = b"") -> bytes:
    """A handshake."""
    key = base64.b64encode(b"0" * 16)
    return (
        b"GET /socket" + HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\n" + fields + b"\r\n"
    )


def read_frame(wire: Wire) -> tuple[int, bytes]:
    """Opcode and payload of the next frame."""
    first, second = wire.take(2)
    size = second if second < 126 else int.from_bytes(wire.take(2), "big")
    return first & 0x0F, wire.take(size)


def open_websocket(served: Served, fields: bytes = b"") -> dict[str, object]:
    """What the application sees of a handshake."""
    with served.wire() as wire:
        wire.send(websocket_head(fields))
        while wire.line() != b"\r\n":
            pass
        seen: dict[str, object] = json.loads(read_frame(wire)[1])
        return seen
