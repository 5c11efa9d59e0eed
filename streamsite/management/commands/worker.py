"""`manage.py worker`: one of the processes that serve; started by the supervisor, never by hand."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from observability import metrics_server, workers
from streamsite.server.loop import choose_loop, reactor_loop
from streamsite.server.supervisor import ALIVE, READY

if TYPE_CHECKING:
    from streamsite.config import Config

__all__ = ["Command"]

HEARTBEAT_S = 1.0


class Command(BaseCommand):
    """Serve on descriptors that are open already."""

    help = "Internal: one worker of `serve`, which starts it. Use `manage.py serve`."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare what the supervisor hands over."""
        parser.add_argument("--control-fd", type=int, required=True, help="our end of the supervisor's socket pair")
        parser.add_argument("--listen-fd", type=int, action="append", required=True, help="a listening socket")
        parser.add_argument("--metrics-fd", type=int, help="the listening socket for /metrics alone")
        parser.add_argument("--run-dir", type=Path, required=True, help=SUPPRESS)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Serve until told to stop.

        Raises: CommandError: it could not start; one line says why.
        """
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
        workers.watch_state(options["run_dir"] / "workers.json")
        config: Config = settings.CONFIG
        choose_loop(config.loop)
        loop = reactor_loop()
        asyncio.set_event_loop(loop)

        from streaming import runtime
        from streamsite.asgi import application
        from streamsite.server.lifespan import LifespanError
        from streamsite.server.server import Server

        control = socket.socket(fileno=options["control_fd"])
        listeners = [socket.socket(fileno=descriptor) for descriptor in options["listen_fd"]]

        async def drain(is_interrupted: bool) -> None:
            runtime.drain(0.0 if is_interrupted else config.drain_s)

        server = Server(
            application,
            listeners=listeners,
            limits=config.to_limits(),
            grace_s=config.grace_s,
            on_ready=lambda: _begin_heartbeat(loop, control),
            on_drain=drain,
        )
        with _metrics_listener(options["metrics_fd"]):
            try:
                server.run()
            except LifespanError as error:
                raise CommandError(f"the site can't start: {error}") from error


def _begin_heartbeat(loop: asyncio.AbstractEventLoop, control: socket.socket) -> None:
    """Tell the supervisor that we accept, then every second that our loop lives; end at once when it is gone."""
    control.setblocking(False)

    def beat() -> None:
        try:
            control.send(ALIVE)
        except BlockingIOError:
            pass  # it is stopped, and will find enough of them
        except OSError:
            os._exit(1)
        loop.call_later(HEARTBEAT_S, beat)

    def orphaned() -> None:
        # The supervisor sends nothing, so what can be read is its end. A new one has bound the port, or is about to.
        os._exit(1)

    control.send(READY)
    loop.add_reader(control.fileno(), orphaned)
    loop.call_later(HEARTBEAT_S, beat)


@contextmanager
def _metrics_listener(descriptor: int | None) -> Iterator[None]:
    """The listener for /metrics alone, if there is one."""
    if descriptor is None:
        yield
        return
    listener = metrics_server.serve(socket.socket(fileno=descriptor))
    try:
        yield
    finally:
        listener.close()
