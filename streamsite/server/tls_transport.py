"""TLS on our connections: Twisted's, as daphne's `ssl:` endpoint has it, with what that leaves open.

    socket ── Transport ── TlsTransport ── Connection, or what the handshake agreed on: Http2Connection

Twisted waits for a first byte before it looks what was agreed on, drops an answer when the client still sends, and goes
on to write for as long as it takes to a client that has said goodbye.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory

from .http2 import Http2Connection
from .refusal import encode_refusal

if TYPE_CHECKING:
    from twisted.internet.ssl import CertificateOptions

    from .factory import Factory

__all__ = ["TlsFactory", "TlsTransport"]

_LETTERS = range(0x41, 0x5B)


class TlsTransport(BufferingTLSTransport):
    """One connection's TLS; the protocol above takes it for its transport."""

    transport: Any
    wrappedProtocol: Any  # noqa: N815 - Twisted names it
    _aggregator: Any
    _tlsConnection: Any  # noqa: N815 - Twisted names it
    _has_begun = False

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted names it
        """Bytes came; a TLS hello begins with 0x16, plain HTTP with the letters of a method."""
        if not self._has_begun:
            self._has_begun = True
            if data[0] in _LETTERS:
                self._refuse_plain()
                return
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted names it
        """Say that nothing more comes, and go on to read.

        Without it the attribute look-up would find that of the socket, which ends the connection without a word.
        """
        self._aggregator.flush()
        self._shutdownTLS()  # type: ignore[no-untyped-call]
        self.transport.loseWriteConnection()

    def _refuse_plain(self) -> None:
        factory: Any = self.factory.wrappedFactory
        server = factory.server
        answer = encode_refusal(400, "bad-request", "TLS is spoken here; use https://", b"", server.server_field)
        self.transport.write(answer)
        self.transport.loseConnection()

    def _checkHandshakeStatus(self) -> None:  # noqa: N802 - Twisted names it
        super()._checkHandshakeStatus()  # type: ignore[no-untyped-call]
        if self._handshakeDone and self.negotiatedProtocol == b"h2":
            before = self.wrappedProtocol
            before.hand_over()
            self.wrappedProtocol = Http2Connection(before.server)
            self.wrappedProtocol.makeConnection(self)

    def _flushSendBIO(self) -> None:  # noqa: N802 - Twisted names it
        """A socket whose sending half is closed ends at once when the client says goodbye, and Twisted goes on."""
        if self._tlsConnection is not None:
            super()._flushSendBIO()  # type: ignore[no-untyped-call]

    def _tlsShutdownFinished(self, reason: Any) -> None:  # noqa: N802 - Twisted names it
        """TLS has ended, mostly because the client has ended it: what it has not taken by now it never will."""
        transport = self.transport
        is_behind = bool(transport._tempDataLen or transport.dataBuffer)
        super()._tlsShutdownFinished(reason)  # type: ignore[no-untyped-call]
        if is_behind and not self.disconnecting:
            transport.abortConnection()


class TlsFactory(TLSMemoryBIOFactory):
    """Puts TLS under the connections of another factory.

    Args:
        options: certificate, key and what is allowed.
        factory: of the connections.
    """

    protocol = TlsTransport

    def __init__(self, options: CertificateOptions, factory: Factory) -> None:
        creator: Any = options  # implements its interface by a decorator that mypy does not see
        super().__init__(creator, isClient=False, wrappedFactory=factory)
