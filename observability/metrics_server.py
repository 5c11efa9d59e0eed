"""The metrics on a listener of their own, so that the port which everyone reaches does not have to show them.

It runs in a thread beside the event loop and answers even while the loop is stuck, which is when it is wanted most.
The socket is bound before the workers start, and they share it: whichever accepts, shows all of them.
"""

from __future__ import annotations

import socket
import threading
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app

from observability.conf import split_bind
from observability.workers import registry

__all__ = ["MetricsServer", "bind", "serve"]

CLOSE_S = 1.0
_BACKLOG = 16


class _QuietHandler(WSGIRequestHandler):
    timeout = 5
    """Seconds that a client may say nothing: there is one thread for all of them."""

    def log_message(self, format: str, *args: object) -> None:
        """Scrapes are no news."""


class _Listener(WSGIServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A scraper that leaves, or says nothing, is no news; standard error is for log lines."""


class MetricsServer:
    """A running listener; `close` ends it, and so does the end of the process."""

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port, also where 0 was asked for."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop listening; waits for its thread for a moment, which a client that says nothing may outlast."""
        stopping = threading.Thread(target=self._server.shutdown, daemon=True)
        stopping.start()
        stopping.join(CLOSE_S)
        self._server.server_close()
        self._thread.join(CLOSE_S)


def bind(text: str) -> socket.socket:
    """Listen on `host:port`.

    Raises: ValueError: it is not host:port. OSError: it can't be bound.
    """
    host, port = split_bind(text)
    return socket.create_server(
        (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
    )


def serve(listener: socket.socket) -> MetricsServer:
    """Serve the metrics at every path of a listening socket, which the server closes."""
    host, port = listener.getsockname()[:2]
    # Another worker may have been faster: then accept says so, and does not wait for the next client.
    listener.setblocking(False)
    server = _Listener((host, port), _QuietHandler, bind_and_activate=False)
    server.socket.close()
    server.socket = listener
    server.server_name, server.server_port = host, port
    server.setup_environ()
    server.set_app(make_wsgi_app(registry()))
    thread = threading.Thread(target=server.serve_forever, name="metrics-listener", daemon=True)
    thread.start()
    return MetricsServer(server, thread)
