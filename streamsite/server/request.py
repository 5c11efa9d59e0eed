"""daphne's HTTP request and its factory, with an honest end for a response that fails on its way."""

from __future__ import annotations

from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest

__all__ = ["Factory", "Request"]


class Request(WebRequest):  # type: ignore[misc]
    """One request and its response."""

    @property
    def is_started(self) -> bool:
        """Whether the response has begun; what is still to come may take for ever."""
        return bool(self._response_started)

    def handle_exception(self, exception: BaseException) -> None:
        """Called when the application failed: 500, or a broken connection if the answer is under way.

        Stock daphne tries the 500 in both cases; the second raises inside its own sweeper, which then never runs
        again, and leaves the client waiting.
        """
        if self._response_started:
            if self.channel is not None:
                self.channel.forceAbortClient()
        else:
            super().handle_exception(exception)


class Factory(HTTPFactory):  # type: ignore[misc]
    """Makes `Request`s."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted names it
        """Called by Twisted for each connection."""
        protocol = super().buildProtocol(addr)
        if protocol is not None:
            protocol.requestFactory = Request
        return protocol

    def log(self, request: Any) -> None:
        """Write no access line: the middleware logs, with the request id."""
