"""The metrics on a listener of their own, so that the port which everyone reaches does not have to show them.

It runs in a thread beside the event loop and answers even while the loop is stuck, which is when it is wanted most.
"""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

from observability.conf import split_bind

__all__ = ["MetricsServer", "start"]


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
        """Stop listening; waits for its thread, at most half a second and a running answer."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def start(bind: str) -> MetricsServer:
    """Serve the metrics at every path of `host:port`.

    Raises: ValueError: it is not host:port. OSError: it can't be bound.
    """
    host, port = split_bind(bind)
    return MetricsServer(*start_http_server(port, addr=host))
