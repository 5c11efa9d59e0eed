"""The least that an ASGI application can do: what is left is the server."""

from __future__ import annotations

from streamsite.types import Receive, Scope, Send

__all__ = ["application"]

BODY = b"Hello, world!"
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))],
}
_BODY = {"type": "http.response.body", "body": BODY}


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Greet, whatever is asked. Lifespan is refused by its error, as ASGI has it."""
    if scope["type"] != "http":
        raise ValueError(f"{scope['type']} is not served here")
    await receive()
    await send(_START)
    await send(_BODY)
