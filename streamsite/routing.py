"""Which part of the site answers an ASGI connection."""

from __future__ import annotations

from streamsite.handler import raw_path
from streamsite.types import Application, Receive, Scope, Send

__all__ = ["Dispatcher", "lifespan", "refuse_websocket"]

_LEAN_PREFIX = "/v1/"
_LEAN_PATHS = frozenset({"/livez", "/healthz", "/readyz", "/metrics"})
"""Health and a scrape must be answered when the threads of the full chain are all taken."""


class Dispatcher:
    """HTTP: the lean handler for /v1/ and health, Django's full chain for the rest."""

    def __init__(self, *, lean: Application, full: Application) -> None:
        self._lean = lean
        self._full = full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await (self._lean if _is_lean(scope) else self._full)(scope, receive, send)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    """Close before accepting, which a client sees as 403: there is nothing to read over WebSocket yet."""
    await receive()
    await send({"type": "websocket.close", "code": 1000})


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    """Start and stop the streaming runtime with a server that speaks lifespan (uvicorn).

    `serve` does too; plain daphne does not, and there the first request starts it.
    """
    from streaming import runtime

    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            try:
                await runtime.start()
            except Exception as error:  # noqa: BLE001 - the server prints it and stops
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await runtime.stop()
            await send({"type": "lifespan.shutdown.complete"})
            return


def _is_lean(scope: Scope) -> bool:
    """Whether the path is the lean handler's, read both ways.

    `/%761/stream/a` decodes to a path below /v1/, and Django's full chain, which routes by the decoded path, would
    serve it: two URLs for one stream. The lean handler routes by the raw path and answers 404.
    """
    decoded = scope["path"].removeprefix(scope.get("root_path", ""))
    raw = raw_path(scope).decode("latin-1").removeprefix(scope.get("root_path", ""))
    return raw.startswith(_LEAN_PREFIX) or decoded.startswith(_LEAN_PREFIX) or decoded in _LEAN_PATHS
