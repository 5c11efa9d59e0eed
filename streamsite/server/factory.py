"""What makes connections: ours for HTTP/1.1; daphne's WebSocket protocol, with the answers that the RFC asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from daphne.http_protocol import HTTPFactory
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from .connection import Connection

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Factory", "SocketFactory"]


class Factory(HTTPFactory):  # type: ignore[misc]
    """Makes a `Connection` for each client."""

    server: Server

    def buildProtocol(self, addr: Any) -> Connection:  # noqa: N802, ARG002 - Twisted names it
        """Called by Twisted when it has accepted a connection."""
        return Connection(self.server)

    def doStart(self) -> None:  # noqa: N802 - Twisted names it
        """Open no access log: the middleware logs, with the request id."""

    def doStop(self) -> None:  # noqa: N802 - Twisted names it
        """Close none."""


class _Socket(WebSocketProtocol):  # type: ignore[misc]
    """One WebSocket connection."""

    def onConnect(self, request: Any) -> Any:  # noqa: N802 - autobahn names it
        """Called with the handshake; no client may move the site to another root path."""
        request.headers.pop("daphne-root-path", None)
        return super().onConnect(request)


class SocketFactory(WebSocketFactory):  # type: ignore[misc]
    """Makes daphne's WebSocket protocols."""

    protocol = _Socket

    def setProtocolOptions(self, **options: Any) -> None:  # noqa: N802 - autobahn names it
        """Let a client that breaks the protocol hear why (RFC 6455, 7.4.1: 1002, 1007, 1009), not only a reset."""
        super().setProtocolOptions(**options, failByDrop=False)
