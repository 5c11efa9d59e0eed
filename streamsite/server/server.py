"""daphne's server with a start that can fail, one address that is known, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

# First: importing it makes asyncio's reactor the one that `twisted.internet` then gives out.
from daphne.server import Server as DaphneServer
from twisted.internet import defer, reactor

from .request import Factory, Request

__all__ = ["Server", "reactor_loop"]

ANSWER_GRACE_S = 2.0
"""For requests whose answer has not begun: an append takes milliseconds, a long-poll is not worth more."""
STOP_GRACE_S = 10.0
"""For the runtime: what it has accepted is written, readers are told where to go on."""
END_GRACE_S = 1.0
"""For answers to reach their end after the runtime has ended them."""

_logger = logging.getLogger(__name__)


class Server(DaphneServer):  # type: ignore[misc]
    """Serves one ASGI application on one TCP address until SIGINT or SIGTERM; a second signal hurries it.

    Args:
        application: ASGI.
        host: an IP address.
        port: 0 takes a free one.
        on_ready: called once it listens, with the real port.
        stop_runtime: awaited between the last short answer and the end of the long ones.
    """

    def __init__(
        self,
        application: Any,
        *,
        host: str,
        port: int,
        on_ready: Callable[[int], None],
        stop_runtime: Callable[[], Awaitable[None]],
    ) -> None:
        interface = host.replace(":", r"\:")  # the endpoint's own separator
        super().__init__(
            application,
            endpoints=[f"tcp:port={port}:interface={interface}"],
            signal_handlers=False,  # ours know a second signal
            ready_callable=self._announce,
            server_name="streamsite",
            verbosity=0,
        )
        self._on_ready = on_ready
        self._stop_runtime = stop_runtime
        self._ports: list[Any] = []
        self._hurry = asyncio.Event()
        self._signals = 0
        self.listen_failure = ""
        """Why it could not listen; empty if it could."""

    @property
    def http_factory(self) -> Factory:
        """What makes connections: ours, although `run` sets daphne's own."""
        return self._http_factory

    @http_factory.setter
    def http_factory(self, stock: Any) -> None:
        self._http_factory = Factory(stock.server)

    def listen_success(self, port: Any) -> None:
        """Keep the port, so that it can be closed first."""
        self._ports.append(port)
        super().listen_success(port)

    def listen_error(self, failure: Any) -> None:
        """Keep the reason, and do not start."""
        self.listen_failure = failure.getErrorMessage()
        self.stop()

    def kill_all_applications(self) -> defer.Deferred[None]:
        """Called by the reactor before it stops, which waits for what this returns.

        Stock daphne cancels every application here, live streams and appends alike, and fails on a request that is not
        complete.
        """
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._drain()))

    def _announce(self) -> None:
        """Called when it listens, before the loop runs."""
        loop = asyncio.get_event_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal)
        self._on_ready(self.listening_addresses[0][1])

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals == 1:
            self.stop()
        else:
            self._hurry.set()

    async def _drain(self) -> None:
        """Take no more, let the short ones finish, stop the runtime, end the rest."""
        _logger.info("server.stopping", extra={"requests": len(self._running())})
        for port in self._ports:
            await _ignoring_failure(_as_future(port.stopListening()))
        await self._wait_for(self._running(began=False), ANSWER_GRACE_S)
        await self._wait_for([asyncio.ensure_future(self._stop_runtime_logged())], STOP_GRACE_S)
        await self._wait_for(self._running(), END_GRACE_S)
        left = self._running()
        for task in left:
            task.cancel()
        # Their `finally` blocks run here; without the wait the loop would end under them.
        await asyncio.gather(*left, return_exceptions=True)
        _logger.info("server.stopped", extra={"cancelled": len(left), "hurried": self._hurry.is_set()})

    async def _stop_runtime_logged(self) -> None:
        try:
            await self._stop_runtime()
        except Exception:
            _logger.exception("server.runtime_failed_to_stop")

    async def _wait_for(self, tasks: Iterable[asyncio.Future[Any]], timeout_s: float) -> None:
        """Wait until all are done, the time is over, or somebody is in a hurry."""
        pending = set(tasks)
        if not pending:
            return
        together = asyncio.ensure_future(asyncio.wait(pending))
        hurried = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({together, hurried}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            together.cancel()
            hurried.cancel()

    def _running(self, *, began: bool = True) -> list[asyncio.Future[Any]]:
        """Applications that are not done; `began=False` leaves those out whose answer is under way."""
        return [
            task
            for protocol, details in self.connections.items()
            if (task := details.get("application_instance")) is not None
            and not task.done()
            and (began or not (isinstance(protocol, Request) and protocol.is_started))
        ]


def reactor_loop() -> asyncio.AbstractEventLoop:
    """The loop that the reactor runs on, to be used before it runs."""
    loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
    return loop


def _as_future(result: Any) -> asyncio.Future[Any]:
    """What Twisted returns, a Deferred or nothing, as something to await."""
    return defer.maybeDeferred(lambda: result).asFuture(asyncio.get_running_loop())


async def _ignoring_failure(future: asyncio.Future[Any]) -> None:
    await asyncio.wait({future})
