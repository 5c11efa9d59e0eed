"""`manage.py worker`: one of the processes that serve; started by the supervisor, never by hand."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import sys
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from observability import metrics_server, workers
from streamsite.config import ConfigError
from streamsite.server.loop import choose_loop, reactor_loop
from streamsite.server.supervisor import ALIVE, READY

if TYPE_CHECKING:
    from streamsite.config import Config

__all__ = ["Command"]

HEARTBEAT_S = 1.0
ORPHANED = 1
"""The exit code of a worker whose supervisor is gone: nobody reads it."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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
        control = socket.socket(fileno=options["control_fd"])
        _die_with_supervisor(control)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor's business
        workers.watch_state(options["run_dir"] / "workers.json")
        workers.merge_ended(options["run_dir"] / "metrics")
        config: Config = settings.CONFIG
        choose_loop(config.loop)
        loop = reactor_loop()
        asyncio.set_event_loop(loop)

        from streaming import runtime
        from streamsite.asgi import application
        from streamsite.server.lifespan import LifespanError
        from streamsite.server.server import Server

        try:
            pair = config.read_tls()
        except ConfigError as error:
            raise CommandError(str(error), returncode=2) from error
        listeners = [socket.socket(fileno=descriptor) for descriptor in options["listen_fd"]]

        async def drain(is_interrupted: bool) -> None:
            runtime.drain(0.0 if is_interrupted else config.drain_s)

        server = Server(
            application,
            listeners=listeners,
            limits=config.to_limits(),
            tls=pair.to_options() if pair is not None else None,
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

    def say(word: bytes) -> None:
        try:
            control.send(word)
        except BlockingIOError:
            pass  # the supervisor is stopped, and will find enough of them
        except OSError:
            os._exit(ORPHANED)

    def beat() -> None:
        say(ALIVE)
        loop.call_later(HEARTBEAT_S, beat)

    say(READY)
    # The supervisor sends nothing, so what can be read is its end. A new one has bound the port, or is about to.
    loop.add_reader(control.fileno(), os._exit, ORPHANED)
    loop.call_later(HEARTBEAT_S, beat)


def _die_with_supervisor(control: socket.socket) -> None:
    """End when the supervisor does, while nothing watches our end of the socket pair and when the loop is stuck, too."""
    control.setblocking(False)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(BlockingIOError):
        if not control.recv(1, socket.MSG_PEEK):  # it was faster
            os._exit(ORPHANED)


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
