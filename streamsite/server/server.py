"""daphne's server with our HTTP/1.1, a start that can fail, time limits, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

# First: importing it makes asyncio's reactor the one that `twisted.internet` then gives out.
from daphne.server import Server as DaphneServer
from twisted.internet import defer
from twisted.internet import reactor as _reactor
from twisted.logger import globalLogBeginner

from observability import metrics
from streaming.tasks import own_task
from streamsite.types import Application, Scope

from .connection import Connection
from .exchange import Exchange
from .factory import Factory, SocketFactory
from .http2 import Http2Connection
from .lifespan import Lifespan
from .limits import Limits
from .room import Room
from .tls_transport import TlsFactory
from .transport import Port
from .watch import Watch

if TYPE_CHECKING:
    from twisted.internet.ssl import CertificateOptions

__all__ = ["Server"]

CHECK_PERIOD_S = 1
"""Between daphne's looks at its own protocols: WebSocket and HTTP/2."""
LOOK_S = 0.1
"""Between looks at connections that are to end."""
INTERRUPTED_S = 2.0
"""For requests to end by themselves after Ctrl-C: somebody waits at a terminal."""
UNSENT_BYTES = 64 * 1024
"""What the kernel takes of an answer beyond what is on its way. By itself it takes up to four megabytes for a client that does
not read: with 4,000 of them all of the machine's memory for TCP, and then nobody gets anything (measured: 2.2 GB; with this
0.28 GB, and a fast client still gets 2.5 GB/s)."""
STOP_S = 5.0
"""For the application to end what it began, at the end of the grace period."""

reactor: Any = _reactor  # its type is an interface, whose methods have no self

_logger = logging.getLogger("streamsite.server")


class Server(DaphneServer):  # type: ignore[misc]
    """Serves one ASGI application on sockets that listen already, until SIGINT or SIGTERM.

    Args:
        application: ASGI.
        listeners: the sockets; closed at the end.
        limits: of a connection.
        tls: certificate and key; without them plain HTTP is spoken.
        grace_s: from the signal to the end at most.
        on_ready: called once it accepts.
        on_drain: called when the drain begins, so that long answers end; whether it was Ctrl-C, and has to be quick.
    """

    def __init__(
        self,
        application: Application,
        *,
        listeners: Iterable[socket.socket],
        limits: Limits | None = None,
        tls: CertificateOptions | None = None,
        grace_s: float = 25.0,
        on_ready: Callable[[], None] = lambda: None,
        on_drain: Callable[[bool], Awaitable[None]] | None = None,
    ) -> None:
        self._sockets = list(listeners)
        super().__init__(
            application,
            endpoints=[f"fd:fileno={listener.fileno()}" for listener in self._sockets],  # daphne wants to see some
            signal_handlers=False,  # ours know a second signal
            server_name="streamsite",
            verbosity=0,
        )
        self.limits = limits or Limits()
        self.server_field = b"Server: streamsite\r\n"
        self.scheme = "http" if tls is None else "https"
        self.is_draining = False
        self.open_connections: set[Connection | Http2Connection] = set()
        self.exchanges: set[Exchange] = set()
        self.watch = Watch(lambda: self.open_connections, lambda: self.exchanges, self.limits.leave_s)
        self._tls = tls
        self._grace_s = grace_s
        self._on_ready = on_ready
        self._on_drain = on_drain
        self._lifespan = Lifespan(application)
        self._ports: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.room = Room(lambda: self._ports, now_mono=self.now_mono, call_later=reactor.callLater)
        self._quiet = asyncio.Event()
        self._empty = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_interrupted = False

    # Its life

    def run(self) -> None:
        """Start the application, accept, and return after the drain.

        Raises: LifespanError: the application can't start.
        """
        self.connections: dict[Any, dict[str, Any]] = {}  # daphne's own protocols
        self._loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
        asyncio.set_event_loop(self._loop)
        observers: list[Any] = [_log_failure]
        globalLogBeginner.beginLoggingTo(observers, redirectStandardIO=False, discardBuffer=True)
        self.http_factory = Factory(self)
        self.ws_factory = SocketFactory(self, server=self.server_name)
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        self._loop.run_until_complete(self._lifespan.start())
        factory: Any = self.http_factory if self._tls is None else TlsFactory(self._tls, self.http_factory)
        for listener in self._sockets:
            listener.setblocking(False)
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES
            )  # its connections inherit it
            # Ours, where reactor.adoptStreamPort would make Twisted's.
            port = Port._fromListeningDescriptor(reactor, listener.fileno(), listener.family, factory)  # type: ignore[no-untyped-call]
            listener.close()  # the port has a copy
            port.room = self.room
            port.startListening()
            self._ports.append(port)
        reactor.callLater(CHECK_PERIOD_S, self.application_checker)
        reactor.callLater(CHECK_PERIOD_S, self.timeout_checker)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        reactor.callLater(0, self._begin)  # not when the reactor runs: the loop does not, by then
        reactor.run(installSignalHandlers=False)

    def stop(self) -> None:
        """Begin the drain."""
        if not self.is_draining:
            self.is_draining = True
            reactor.stop()

    def kill_all_applications(self) -> defer.Deferred[None]:
        """Called by the reactor before it stops, which waits for what this returns.

        Stock daphne cancels every application here, live streams and appends alike, and fails on a request that is not
        complete.
        """
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._drain()))

    def _begin(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._on_signal, number)
        self._tasks.append(own_task(self.watch.run(), "server-watch"))
        self._on_ready()

    def _on_signal(self, number: int) -> None:
        if self.is_draining:
            self._hurry.set()
        else:
            self._is_interrupted = number == signal.SIGINT
            self.stop()

    # For connections

    def now_mono(self) -> float:
        """The loop's time."""
        return self._loop.time()

    def on_connected(self, connection: Connection | Http2Connection) -> None:
        """A connection begins."""
        self.open_connections.add(connection)
        metrics.connections.inc()

    def on_disconnected(self, connection: Connection | Http2Connection) -> None:
        """A connection has ended, or became another protocol's."""
        if connection in self.open_connections:
            self.open_connections.discard(connection)
            metrics.connections.dec()
            if self.is_draining and not self.open_connections:
                self._empty.set()
        self.watch.forget(connection)

    def start_application(self, exchange: Exchange, scope: Scope) -> None:
        """Run the application for one request, in a task of its own that `exchanges` keeps."""
        self.exchanges.add(exchange)
        exchange.task = self._loop.create_task(exchange.run(self.application, scope))

    def on_application_ended(self, exchange: Exchange) -> None:
        """It has returned."""
        self.exchanges.discard(exchange)
        if self.is_draining and not self.exchanges:
            self._quiet.set()

    def begin_websocket(self, transport: Any, data: bytes, query: bytes) -> None:
        """Give a connection to daphne's WebSocket protocol.

        Args:
            data: the handshake, as it came, and what followed it.
        """
        protocol = self.ws_factory.buildProtocol(transport.getPeer())
        protocol._raw_query_string = query
        if hasattr(transport, "wrappedProtocol"):  # TLS wraps
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        protocol.dataReceived(data)

    # Its end

    async def _drain(self) -> None:
        """Accept no more, let what runs come to its end, stop the application, end the rest."""
        grace_s = min(self._grace_s - STOP_S, INTERRUPTED_S) if self._is_interrupted else self._grace_s - STOP_S
        deadline_mono = self.now_mono() + max(0.0, grace_s)
        _logger.info("drain.begin", extra={"requests": len(self.exchanges), "connections": len(self.open_connections)})
        for port in self._ports:
            await asyncio.wait({_as_future(port.stopListening())})
        for connection in list(self.open_connections):
            connection.begin_drain()
        if self._on_drain is not None:
            try:
                await self._on_drain(self._is_interrupted)
            except Exception:
                _logger.exception("drain.hook_failed")
        await self._wait_for(self._until_quiet(), deadline_mono)
        await self._wait_for(self._until_sent(), deadline_mono)
        forced = [exchange.task for exchange in self.exchanges if exchange.task is not None] + self._daphnes()
        for task in forced:
            task.cancel()
        if forced:
            # Their `finally` blocks run here, and may need what the application has; without the wait the loop would end
            # under them.
            await asyncio.wait(forced, timeout=STOP_S)
        await self._wait_for(self._stop_application(), self.now_mono() + STOP_S)
        for connection in list(self.open_connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if forced:
            metrics.drain_forced.inc(len(forced))
        _logger.info("drain.end", extra={"forced": len(forced), "hurried": self._hurry.is_set()})

    async def _until_quiet(self) -> None:
        """Wait until no request is under way."""
        while self.exchanges or self._daphnes():
            self._quiet.clear()
            if self.exchanges:
                await self._quiet.wait()
            if others := self._daphnes():
                await asyncio.wait(others)

    async def _until_sent(self) -> None:
        """Close what has no request, and wait until the kernel has the ends of all answers."""
        while self.open_connections:
            self._empty.clear()
            for connection in list(self.open_connections):
                connection.close_if_idle()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._empty.wait()

    async def _stop_application(self) -> None:
        try:
            await self._lifespan.stop()
        except Exception:
            _logger.exception("drain.application_failed_to_stop")

    async def _wait_for(self, work: Coroutine[Any, Any, None], until_mono: float) -> None:
        """Wait until it is done, the time is over, or somebody is in a hurry; if it is not done it is cancelled."""
        task = asyncio.ensure_future(work)
        hurried = asyncio.ensure_future(self._hurry.wait())
        try:
            timeout_s = max(0.0, until_mono - self.now_mono())
            await asyncio.wait({task, hurried}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            task.cancel()
            hurried.cancel()
            await asyncio.wait({task, hurried})

    def _daphnes(self) -> list[asyncio.Future[Any]]:
        """Applications that daphne's own protocols run."""
        return [
            task
            for details in self.connections.values()
            if (task := details.get("application_instance")) is not None and not task.done()
        ]


def _log_failure(event: dict[str, Any]) -> None:
    """Of what Twisted logs only failures are news; the rest tells of each connection."""
    if (failure := event.get("log_failure")) is not None:
        _logger.error("twisted.failed", exc_info=(failure.type, failure.value, failure.getTracebackObject()))


def _as_future(result: Any) -> asyncio.Future[Any]:
    """What Twisted returns, a Deferred or nothing, as something to await."""
    return defer.maybeDeferred(lambda: result).asFuture(asyncio.get_running_loop())
