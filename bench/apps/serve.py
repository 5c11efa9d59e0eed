"""Our server with any ASGI application, as a worker of `manage.py serve` runs it.

python -m bench.apps.serve PORT MODULE:NAME
"""

from __future__ import annotations

import asyncio
import socket
import sys
from importlib import import_module

from streamsite.server.loop import choose_loop, reactor_loop

__all__ = ["main"]


def main() -> None:
    """Serve until SIGTERM."""
    port, target = sys.argv[1:]
    module, _, name = target.partition(":")
    choose_loop("auto")
    asyncio.set_event_loop(reactor_loop())

    from streamsite.server.server import Server

    application = getattr(import_module(module), name)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=4096)
    Server(application, listeners=[listener], grace_s=6.0).run()


if __name__ == "__main__":
    main()
