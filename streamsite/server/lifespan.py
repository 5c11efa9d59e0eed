"""ASGI lifespan, which daphne lacks: the application says when it is ready, and ends its tasks before the loop ends."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from streamsite.types import Application, Message

__all__ = ["Lifespan", "LifespanError"]

_logger = logging.getLogger("streamsite.server")


class LifespanError(Exception):
    """The application can't start; the text is its own."""


class Lifespan:
    """One application's lifespan; an application that knows none is started and stopped by nothing.

    Source: ASGI, lifespan protocol 2.0.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._to_application: asyncio.Queue[Message] = asyncio.Queue()
        self._from_application: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, and return when the application is ready.

        Raises: LifespanError.
        """
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
        self._task = asyncio.get_running_loop().create_task(
            self._run(scope), name="lifespan"
        )  # keeps the context, in which the application's tasks are made
        answer = await self._ask("lifespan.startup")
        if answer.get("type") == "lifespan.startup.failed":
            await self._task
            self._task = None
            raise LifespanError(answer.get("message", "") or "the application gave no reason")

    async def stop(self) -> None:
        """Let the application end what it began; a failure is logged.

        Cancellation: the application's own end is cancelled.
        """
        if self._task is None or self._task.done():
            return
        try:
            answer = await self._ask("lifespan.shutdown")
            if answer.get("type") == "lifespan.shutdown.failed":
                _logger.error("lifespan.shutdown_failed", extra={"error": answer.get("message", "")})
            await self._task
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self, kind: str) -> Message:
        """Send a message and wait for the answer, or for the end of the application."""
        assert self._task is not None, "start comes first"  # noqa: S101 - for mypy
        self._to_application.put_nowait({"type": kind})
        answer = asyncio.ensure_future(self._from_application.get())
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return {}

    async def _run(self, scope: dict[str, Any]) -> None:
        try:
            await self._application(scope, self._to_application.get, self._send)
        except Exception:
            # By the specification this is how an application says that it knows no lifespan.
            _logger.debug("lifespan.unsupported", exc_info=True)

    async def _send(self, message: Message) -> None:
        self._from_application.put_nowait(message)
