"""Serve the probe: `python -m tests.streamsite.server.run --loop uvloop --limits head_s=0.5 idle_s=1`.

Takes a free port of 127.0.0.1 and prints it once it accepts. With `--stock` daphne serves as it is, for tests that show
what our server does otherwise.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import socket
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from tests.streamsite.server.probe import Probe

_BACKLOG = 4096
_STANDARD = frozenset(vars(logging.makeLogRecord({})))


class _Lines(logging.Formatter):
    """One JSON object a line: `event`, `level`, what was logged beside them, and a traceback's last line."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        error = repr(record.exc_info[1]) if record.exc_info else None
        return json.dumps(
            {"event": record.getMessage(), "level": record.levelname, "error": error, **extra}, default=repr
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--loop", default="auto")
    parser.add_argument("--limits", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--grace", type=float, default=6.0)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--http-timeout", type=int)
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(handlers=[handler], level=logging.DEBUG)
    listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
    if options.stock:
        _serve_stock(listener, options)
    else:
        _serve(listener, options)


def _serve(listener: socket.socket, options: argparse.Namespace) -> None:
    from streamsite.server.loop import choose_loop, loop_name, reactor_loop

    choose_loop(options.loop)
    loop = reactor_loop()
    assert options.loop in ("auto", loop_name(loop))

    from streamsite.server.limits import Limits
    from streamsite.server.server import Server

    kinds = {field.name: {"int": int, "float": float}[str(field.type)] for field in fields(Limits)}
    given = dict(item.split("=", 1) for item in options.limits)
    port = listener.getsockname()[1]
    probe = Probe()
    server = Server(
        probe,
        listeners=[listener],
        limits=Limits(**{name: kinds[name](value) for name, value in given.items()}),
        grace_s=options.grace,
        on_ready=lambda: _announce(port),
    )

    def facts() -> dict[str, Any]:
        return {
            "connections": len(server.open_connections),
            "exchanges": len(server.exchanges),
            "held": len(server.watch._held),
            "taken": server.room.taken,
            "loop": loop_name(loop),
        }

    probe.facts = facts
    server.run()


def _serve_stock(listener: socket.socket, options: argparse.Namespace) -> None:
    from daphne.server import Server

    port = listener.getsockname()[1]
    probe = Probe()
    server = Server(
        probe,
        endpoints=[f"fd:fileno={listener.fileno()}"],
        http_timeout=options.http_timeout,
        verbosity=0,
        ready_callable=lambda: _announce(port),
    )
    probe.facts = lambda: {"connections": len(server.connections)}
    listener.detach()  # daphne closes it
    server.run()


def _announce(port: int) -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    print(json.dumps({"port": port, "descriptors": soft}), flush=True)  # noqa: T201 - whoever started us reads it


if __name__ == "__main__":
    main()
